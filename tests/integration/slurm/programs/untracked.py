"""``python -m lamella.training`` without MLflow: launch|rank ARGUMENTS."""

import sys


def rank(words: list[str]) -> None:
    from lamella.training import rank as program

    train = program._train

    def untracked(arguments: object) -> None:
        import lamella.training.train

        lamella.training.train.track = lambda *_: None
        train(arguments)

    program._train = untracked
    program.start()
    program.main(words)


def launch(words: list[str]) -> None:
    import lamella.training.__main__ as program

    program.RANK = (sys.executable, __file__, "rank")
    program.main(words)


if __name__ == "__main__":
    {"rank": rank, "launch": launch}[sys.argv[1]](sys.argv[2:])
