"""The capacity laws simulated at full size: ``simulations.csv``, ``simulations.png``."""

from uhn.experiments.simulations import simulate

if __name__ == "__main__":
    found = simulate(n_workers=2)
    found.to_csv("simulations.csv")
    found.plot("simulations.png")
