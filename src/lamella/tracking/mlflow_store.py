"""MLflow: the only module that sends records to it.

Everything is found again by the record's ``id`` in a tag, and logged such that logging it twice is
logging it once: params, tags, inputs and artifacts have names, metrics a name and a step. So a
record that was half sent is completed by sending it again.

For the same reason a step that fails is tried again as a whole, and no single request is: a server
may have done what was asked of it before its answer got lost.
"""

import functools
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from lamella.tracking.mlflow_failures import FAILURES, may_pass, refusals
from lamella.tracking.mlflow_model import save_model
from lamella.tracking.record import ModelArtifact, Record, RunStatus
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.sqlite_store import make_sqlite_store, sqlite_uri
from lamella.tracking.workflow import STORE_FOLDER

logger = logging.getLogger(__name__)

_ID_TAG = "lamella.record_id"
_ENDED_TAG = "lamella.ended_ms"
_ALIAS_TAG = "lamella.alias"
_STATUS = {
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.KILLED: "KILLED",
}
# Limits of MLflow: entries per request, and characters of a dataset's digest.
_METRICS_PER_REQUEST = 1000
_ENTRIES_PER_REQUEST = 100
_DIGEST_CHARACTERS = 36
_ANSWER_S = 5
# MLflow refuses these in names of models, the registry only the first two; a study's name may hold
# any, and a quote would end the name in a search.
_NOT_IN_MODEL_NAMES = re.compile(r"""[/:.%"']""")
_NOT_IN_REGISTERED_NAMES = re.compile(r"""[/:%"']""")

_T = TypeVar("_T")
_P = ParamSpec("_P")


def _tried_again(
    step: Callable[Concatenate["MlflowStore", _P], _T],
) -> Callable[Concatenate["MlflowStore", _P], _T]:
    """Let a step that looks first for what is there try again after a failure that may pass."""

    @functools.wraps(step)
    def persistent(store: "MlflowStore", /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        for attempt in range(store.retries):
            try:
                return step(store, *arguments, **named)
            except FAILURES as error:
                if not may_pass(error):
                    raise
                logger.debug("%s is tried again: %s", step.__name__, error)
            # Not all at once: jobs that were in each other's way would be so again.
            time.sleep(2**attempt * (0.5 + os.getpid() % 16 / 32))
        return step(store, *arguments, **named)

    return persistent


class MlflowStore:
    """An MLflow store that answers.

    Raises:
        TrackingError: it does not.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.retries = settings.retries
        self._settings = settings
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(settings.timeout_s)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # see _tried_again
        if settings.uri is None:
            make_sqlite_store()
        uri = settings.uri or sqlite_uri(STORE_FOLDER / "mlflow.db")
        with refusals(settings):
            if uri.startswith("http"):
                self._knock(uri)
            # A registry in a database looks for the model in the process's own default store.
            mlflow.set_tracking_uri(uri)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._look()

    def send(self, record: Record, folder: Path, parent_run_id: str | None) -> str:
        """Log a record, or what a former attempt left out of it.

        Args:
            record: What to log.
            folder: Folder that the record's files are relative to.
            parent_run_id: The run to nest under.

        Returns:
            The run's id.

        Raises:
            TrackingError: the store refuses the record or does not answer any more.
        """
        with refusals(self._settings):
            experiment_id = self._experiment(record.experiment)
            run_id = self._run(record, experiment_id, parent_run_id)
            self._log_values(record, run_id)
            self._log_datasets(record, run_id)
            self._log_artifacts(record, folder, run_id)
            if record.model is None:
                self._log_metrics(record, run_id, None)
            else:
                self._log_model(record, record.model, folder, experiment_id, run_id)
            self._remove_twins(record, experiment_id, run_id)
            self._end(record, run_id)
        return run_id

    @_tried_again
    def _knock(self, uri: str) -> None:
        """See that a server is there: MLflow itself would find out only after all its retries."""
        requests.head(uri, timeout=_ANSWER_S)

    @_tried_again
    def _look(self) -> None:
        self._client.search_experiments(max_results=1)

    @_tried_again
    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        artifacts = None
        if not (self._settings.uri or "").startswith("http"):
            # A server knows where artifacts go; for a database MLflow would take ./mlruns.
            artifacts = (STORE_FOLDER / "artifacts").resolve().as_uri()
        try:
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            made_meanwhile = self._client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or made_meanwhile is None:
                raise
            return str(made_meanwhile.experiment_id)

    @_tried_again
    def _run(self, record: Record, experiment_id: str, parent_run_id: str | None) -> str:
        found = self._runs(record, experiment_id)
        if found:
            return str(found[0].info.run_id)
        tags = {_ID_TAG: record.id, "lamella.kind": record.kind}
        if parent_run_id is not None:
            tags["mlflow.parentRunId"] = parent_run_id
        run = self._client.create_run(
            experiment_id, start_time=record.started_ms, tags=tags, run_name=record.name
        )
        return str(run.info.run_id)

    def _runs(self, record: Record, experiment_id: str) -> list[Run]:
        of_record = f"tags.`{_ID_TAG}` = '{record.id}'"
        return list(self._client.search_runs([experiment_id], of_record))

    @_tried_again
    def _remove_twins(self, record: Record, experiment_id: str, run_id: str) -> None:
        """Delete what a slow server made when its answer was no longer waited for.

        Nothing was ever logged to such a run. One that another node has filled, where locks do not
        reach from node to node, is left.
        """
        for twin in self._runs(record, experiment_id):
            if twin.info.run_id != run_id and not twin.data.params:
                self._client.delete_run(twin.info.run_id)

    @_tried_again
    def _log_values(self, record: Record, run_id: str) -> None:
        params = [Param(key, value) for key, value in sorted(record.params.items())]
        tags = [RunTag(key, value) for key, value in sorted(record.tags.items())]
        for some_params in _chunks(params, _ENTRIES_PER_REQUEST):
            self._client.log_batch(run_id, params=some_params)
        for some_tags in _chunks(tags, _ENTRIES_PER_REQUEST):
            self._client.log_batch(run_id, tags=some_tags)

    @_tried_again
    def _log_metrics(self, record: Record, run_id: str, model_id: str | None) -> None:
        """Log the curves and figures, and link those of the model to it.

        The same result may come at another time: a point that the run has keeps its time.
        """
        of_run, of_model = self._known_metrics(run_id), self._linked_metrics(model_id)
        digests = {each.name: each.digest[:_DIGEST_CHARACTERS] for each in record.datasets}
        metrics = [
            Metric(
                each.key,
                each.value,
                of_run.get((each.key, each.step), each.timestamp_ms),
                each.step,
                model_id=model_id if each.of_model else None,
                dataset_name=each.dataset,
                dataset_digest=digests[each.dataset] if each.dataset else None,
            )
            for each in record.metrics
            if (each.key, each.step) not in (of_model if each.of_model else of_run)
        ]
        for some_metrics in _chunks(metrics, _METRICS_PER_REQUEST):
            self._client.log_batch(run_id, metrics=some_metrics)

    def _known_metrics(self, run_id: str) -> dict[tuple[str, int], int]:
        """Return the time, in milliseconds, of all points that are logged, by key and step."""
        return {
            (key, point.step): point.timestamp
            for key in self._client.get_run(run_id).data.metrics
            for point in self._client.get_metric_history(run_id, key)
        }

    def _linked_metrics(self, model_id: str | None) -> set[tuple[str, int]]:
        if model_id is None:
            return set()
        metrics = self._client.get_logged_model(model_id).metrics or ()
        return {(metric.key, metric.step) for metric in metrics}

    @_tried_again
    def _log_datasets(self, record: Record, run_id: str) -> None:
        inputs = [
            DatasetInput(
                Dataset(
                    name=dataset.name,
                    digest=dataset.digest[:_DIGEST_CHARACTERS],
                    source_type="local",
                    source=json.dumps({"uri": dataset.source}),
                    profile=json.dumps({"digest": dataset.digest}),
                ),
                tags=[InputTag("mlflow.data.context", dataset.context)],
            )
            for dataset in record.datasets
        ]
        if inputs:
            self._client.log_inputs(run_id, datasets=inputs)

    @_tried_again
    def _log_artifacts(self, record: Record, folder: Path, run_id: str) -> None:
        for name in record.artifacts:
            path = folder / name
            inside = Path(name).parent.as_posix()
            target = None if inside == "." or ".." in Path(name).parts else inside
            if path.is_dir():
                target = f"{target}/{path.name}" if target else path.name
                self._client.log_artifacts(run_id, str(path), target)
            else:
                self._client.log_artifact(run_id, str(path), target)

    @_tried_again
    def _end(self, record: Record, run_id: str) -> None:
        if record.status is RunStatus.RUNNING:
            return
        self._client.set_terminated(run_id, _STATUS[record.status], record.ended_ms)

    def _log_model(
        self, record: Record, model: ModelArtifact, folder: Path, experiment_id: str, run_id: str
    ) -> None:
        model_id = self._log_model_files(record, model, folder, experiment_id, run_id)
        self._log_metrics(record, run_id, model_id)
        if model.alias is not None:
            self._register(record, model, model.alias, model_id, run_id)

    @_tried_again
    def _log_model_files(
        self, record: Record, model: ModelArtifact, folder: Path, experiment_id: str, run_id: str
    ) -> str:
        logged = self._logged_model(record, model, experiment_id, run_id)
        if logged.status is not LoggedModelStatus.READY:
            with tempfile.TemporaryDirectory() as temporary:
                files = Path(temporary) / "model"
                save_model(model, folder, files, Model(run_id=run_id, model_id=logged.model_id))
                self._client.log_model_artifacts(logged.model_id, str(files))
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        outputs = self._client.get_run(run_id).outputs
        if outputs is None or not outputs.model_outputs:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=model.step)])
        return str(logged.model_id)

    def _logged_model(
        self, record: Record, model: ModelArtifact, experiment_id: str, run_id: str
    ) -> LoggedModel:
        found = self._client.search_logged_models(
            [experiment_id], filter_string=f"tags.`{_ID_TAG}` = '{record.id}'"
        )
        if found:
            return found[0]
        return self._client.create_logged_model(
            experiment_id,
            name=_NOT_IN_MODEL_NAMES.sub("_", model.name),
            source_run_id=run_id,
            tags={_ID_TAG: record.id},
            params=model.params,
            model_type=model.model_type,
        )

    @_tried_again
    def _register(
        self, record: Record, model: ModelArtifact, alias: str, model_id: str, run_id: str
    ) -> None:
        name = _registered_name(record, model)
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {_ID_TAG: record.id, _ALIAS_TAG: alias, _ENDED_TAG: str(record.ended_ms)}
        version = next((each for each in self._versions(name) if _is_of(each, record)), None)
        if version is None:
            version = self._client.create_model_version(
                name,
                source=f"models:/{model_id}",
                run_id=run_id,
                tags=tags,
                await_creation_for=0,
                model_id=model_id,
            )
        else:  # the same model, perhaps made again
            self._client.set_model_version_tag(name, version.version, _ENDED_TAG, tags[_ENDED_TAG])
        # A server does this by itself, a database does not: pages say by it what is registered.
        known_as = json.dumps([{"name": name, "version": str(version.version)}])
        self._client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: known_as})
        self._give_alias(name, alias, record)

    def _give_alias(self, name: str, alias: str, record: Record) -> None:
        """Give the alias to the record's model, unless there is a younger one that is to bear it.

        A younger one may be registered meanwhile and lose its alias to this one. Therefore whoever
        gives an alias looks afterwards whether it was still the right one.
        """
        youngest = self._youngest(name, alias)
        right = not _is_of(youngest, record)
        while not right:
            self._client.set_registered_model_alias(name, alias, youngest.version)
            given, youngest = youngest, self._youngest(name, alias)
            right = given.version == youngest.version

    def _youngest(self, name: str, alias: str) -> ModelVersion:
        rivals = [each for each in self._versions(name) if each.tags.get(_ALIAS_TAG) == alias]
        return max(rivals, key=lambda each: (int(each.tags[_ENDED_TAG]), int(each.version)))

    def _versions(self, name: str) -> list[ModelVersion]:
        return list(self._client.search_model_versions(f"name = '{name}'"))


def _is_of(version: ModelVersion, record: Record) -> bool:
    return bool(version.tags.get(_ID_TAG) == record.id)


def _registered_name(record: Record, model: ModelArtifact) -> str:
    """Return a name that two studies with runs of one name do not share on one server."""
    return _NOT_IN_REGISTERED_NAMES.sub("_", f"{record.experiment}-{model.name}")


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
