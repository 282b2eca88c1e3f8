"""``python -m lamella.training`` without MLflow: alone|launch|site|rank ARGUMENTS."""

import sys

from lamella.training.lifeline import end_with_launcher


def rank(words: list[str]) -> None:
    end_with_launcher()
    import lamella.training.rank
    import lamella.training.train

    lamella.training.train.track = lambda *_: None
    lamella.training.rank.main(words)


def alone(words: list[str]) -> None:
    import lamella.training.__main__
    import lamella.training.train

    lamella.training.train.track = lambda *_: None
    lamella.training.__main__.main(words)


def launch(words: list[str]) -> None:
    from lamella.logs import start_job_log
    from lamella.training.arguments import read_arguments
    from lamella.training.launch import launch_training

    arguments = read_arguments(words)
    start_job_log(arguments.log)
    backend = arguments.training.backend
    launch_training([sys.executable, __file__, "rank", *words], 2, backend=backend)


def site(words: list[str]) -> None:
    import lamella.training.__main__ as program

    program.RANK = (sys.executable, __file__, "rank")
    program.main(words)


if __name__ == "__main__":
    programs = {"alone": alone, "launch": launch, "site": site, "rank": rank}
    programs[sys.argv[1]](sys.argv[2:])
