"""What distillation does to the law, to students and to payouts."""
