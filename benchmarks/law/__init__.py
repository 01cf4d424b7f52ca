"""The law against brute force of the large model (`benchmarks.truth`), and its alarms
(`benchmarks.alarms`).
"""
