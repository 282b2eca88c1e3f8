"""Who is tested on where that is no mere share: the patients of a fold, or of a centre."""

from collections.abc import Sequence

from lamella.cohort.deal import deal
from lamella.cohort.settings import SplitSettings
from lamella.cohort.table import Slide
from lamella.errors import CohortError, CohortErrors


def patients_of_fold(slides: Sequence[Slide], settings: SplitSettings) -> set[str]:
    """Return the patients of one fold; over all folds, every patient comes once.

    Args:
        slides: Those whose patients are dealt out.
        settings: Which fold of how many, strata and seed.

    Raises:
        CohortErrors: there are fewer patients than folds.
    """
    count = len({slide.patient for slide in slides})
    if count < settings.folds:
        raise _refused(
            f"{settings.folds} folds need as many patients, but {count} have no fixed split",
            "split.folds",
            "Set it lower, add patients, or empty cells in column split",
        )
    shares = dict.fromkeys(range(1, settings.folds + 1), 1 / settings.folds)
    dealt = deal(slides, shares, {}, settings.stratify, key=settings.seed)
    return {patient for patient, number in dealt.items() if number == settings.fold}


def patients_of_centre(slides: Sequence[Slide], centre: str) -> set[str]:
    """Return the patients of a centre.

    Raises:
        CohortErrors: slides have no centre; none has this one; all have; or a patient of it has
            slides of another one too.
    """
    centres = {slide.centre for slide in slides}
    if centres == {""}:
        raise _refused("the slide table names no centre", "split.method", "Add the column `centre`")
    _refuse_each(
        [slide for slide in slides if not slide.centre],
        f"has no centre, and may be of {centre!r}",
        "Name its centre, or leave the slide out",
    )
    if centre not in centres:
        raise _refused(
            f"no slide is of centre {centre!r}", "split.centre", f"Use {', '.join(sorted(centres))}"
        )
    if centres == {centre}:
        raise _refused(
            f"all slides are of centre {centre!r}: none is left to train on",
            "split.centre",
            "Add slides of other centres, or choose another split.method",
        )
    tested = {slide.patient for slide in slides if slide.centre == centre}
    _refuse_each(
        [slide for slide in slides if slide.patient in tested and slide.centre != centre],
        f"is of a patient who also has slides of centre {centre!r}",
        "Give all slides of a patient the same centre, or leave the slide out",
    )
    return tested


def _refuse_each(slides: Sequence[Slide], what: str, remedy: str) -> None:
    if slides:
        raise CohortErrors(
            [
                CohortError(
                    f"slide {slide.slide!r} {what}", f"slide table, line {slide.line}", remedy
                )
                for slide in slides
            ]
        )


def _refused(what: str, where: str, remedy: str) -> CohortErrors:
    return CohortErrors([CohortError(what, where, remedy)])
