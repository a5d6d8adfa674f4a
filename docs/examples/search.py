"""A random search over the inner rate and the shots of MAML on sinusoids.   python search.py"""

import lightning_meta


def main(trials: int = 8, epochs: int = 5, batches: int = 500) -> float:
    """Search, and return the squared error of the best trial in its only meta-test."""
    search = lightning_meta.tune(
        ["sinusoid-maml.yaml", "search/random_inner_lr_shots.yaml"],
        {
            "search.trials": trials,
            "search.space": {
                "model.learner.inner_lr": {"loguniform": [0.001, 0.1]},
                "data.shots": {"choice": [5, 10, 20]},
            },
            "trainer.max_epochs": epochs,
            "data.epoch_batches": batches,
        },
    )
    for trial in search.trials:
        print(trial.values, trial.score)
    return search.tested[0].score.mean


if __name__ == "__main__":
    main()
