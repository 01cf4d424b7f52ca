"""First projects: a config, tiny data made on the spot, and a README, to run and then to change."""
