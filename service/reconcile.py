"""One pipeline, one step further: compares its rows with Ray Jobs and MLflow and does what is missing.

Every step can be repeated, and what a step did is found again when the process died before writing it down: a run by its tags, a
job by its id, which follows from the row. So the order is: row, then run, then its id in the row, then the job. `after` is called
with each step's name once it is done; the tests kill the process there.
"""
from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.config import ConfigError, check, digest_of, names
from jobs.config.pipeline import STAGES, SWEEP_STAGES
from jobs.config.sections import Driver
from service import failures, mlflow_runs, ray_jobs, retries, summary
from service.endpoints import Endpoint
from service.home import Home
from service.job_environment import environment
from service.job_log import error_in
from service.ledger import Ledger
from service.mlflow_runs import PARENT, Runs, TrackingAway
from service.promotion import read_rule
from service.ray_jobs import ClusterAway, RayJobs
from service.settings import RULE
from service.tables import CANCELLED, ENDED, FAILED, LOST, QUEUED, RUNNING, STOPPED, SUCCEEDED, Attempt, Pipeline, Stage
from service.versions import ALREADY, promote_by_rule
from service.working_dir import clean_copy, code_digest

STEPS = (
    "parent run created", "parent run stored", "stage run created", "stage run stored", "attempt recorded", "job submitted",
    "job recorded", "job end seen", "stage run closed", "stage closed", "results collected", "parent run closed", "pipeline closed",
)  # fmt: skip
IN_TURN = (*STAGES, *SWEEP_STAGES)  # each needs the one before it; what comes after them are evaluations, which need one another not
_MOST_LOST = 5  # attempts forgotten by job servers before a stage is given up
_PATIENT_S = 1800.0  # a job may be pending this long before its pipeline says so
_log = logging.getLogger("adacrossnet.submitter")
_ENDING = {SUCCEEDED: mlflow_runs.FINISHED, FAILED: mlflow_runs.FAILED, CANCELLED: mlflow_runs.KILLED}


@dataclass
class Reconciler:
    """What acting takes: the ledger, the tree that jobs run in, and `hold`, which raises when we may act no more."""

    ledger: Ledger
    home: Home
    tree: Path
    hold: Callable[[], None]
    after: Callable[[str], None]
    rule: Path = RULE

    def advance(self, pipeline: Pipeline, endpoint: Endpoint, jobs: RayJobs, runs: Runs) -> None:
        """Takes every step that can be taken now; returns while a job runs. Raises ClusterAway, TrackingAway, and what `hold` raises."""
        if pipeline.state in ENDED and not self._jobs_ended(pipeline, jobs):  # before MLflow is asked: it may be away for long
            return
        experiment = runs.experiment(summary.experiment_of(pipeline))
        self._ensure_parent(pipeline, endpoint, runs, experiment)
        if pipeline.state in ENDED:
            self._close(pipeline, pipeline.state, pipeline.message, runs, experiment)
            return
        if pipeline.cancel_requested:
            self._cancel(pipeline, jobs, runs, experiment)
            return
        in_turn = [stage for stage in pipeline.stages if stage.name in IN_TURN]
        for stage in in_turn:
            if stage.state == SUCCEEDED:
                continue
            if stage.state not in (FAILED, CANCELLED):
                self._say(pipeline, self._advance_stage(pipeline, stage, endpoint, jobs, runs, experiment))
                stage = next(s for s in self.ledger.get(pipeline.id).stages if s.id == stage.id)
            if stage.state in (FAILED, CANCELLED):
                self._close(pipeline, stage.state, f"{stage.name}: {stage.message}", runs, experiment)
            if stage.state != SUCCEEDED:
                return
        self._advance_evaluations(pipeline, pipeline.stages[len(in_turn) :], endpoint, jobs, runs, experiment)

    def _advance_evaluations(
        self, pipeline: Pipeline, stages: list[Stage], endpoint: Endpoint, jobs: RayJobs, runs: Runs, experiment: str
    ) -> None:
        """The further evaluations, some at once: none needs another, and one that fails keeps no other from its end."""
        at_once = int(pipeline.config.get("evaluations_at_once") or 1)
        free = at_once - sum(_under_way(stage) for stage in stages)
        waits = []
        for stage in stages:
            if stage.state in ENDED or (not _under_way(stage) and free <= 0):
                continue
            free -= not _under_way(stage)
            waits.append(self._advance_stage(pipeline, stage, endpoint, jobs, runs, experiment))
        self._say(pipeline, "; ".join(filter(None, waits)) or None)
        ids = {stage.id for stage in stages}
        now = [stage for stage in self.ledger.get(pipeline.id).stages if stage.id in ids]
        if all(stage.state in ENDED for stage in now):
            wrong = [stage for stage in now if stage.state != SUCCEEDED]
            state = SUCCEEDED if not wrong else FAILED if any(stage.state == FAILED for stage in wrong) else CANCELLED
            said = "\n".join(f"{stage.name}: {stage.message}" for stage in wrong)
            if state == SUCCEEDED and pipeline.config.get("promote"):
                said = self._promote(pipeline, runs)
            self._close(pipeline, state, said or None, runs, experiment)

    def _promote(self, pipeline: Pipeline, runs: Runs) -> str:
        """Makes the registered version champion where the rule allows it; what came of that. Again, it finds it champion already."""
        stage = next(stage for stage in pipeline.stages if stage.name == "register")
        assert stage.run_id is not None
        made = runs.read_json(stage.run_id, "register.json") or {}
        version = f"{made.get('name')}/{made.get('version')}"
        self.hold()
        try:
            with self.ledger.leases.alone(f"registry/{made.get('name')}"):
                why = f"asked for by the pipeline {pipeline.id}"
                said = promote_by_rule(runs, version, read_rule(self.rule), pipeline.owner, why, False)
        except ValueError as refused:  # by the rule, or a rule that is none
            return str(refused)
        self.after("promoted")
        if not said.endswith(ALREADY):
            self.ledger.note("promoted", {"version": version, "by": pipeline.owner, "pipeline": pipeline.id, "said": said})
        return said

    def _ensure_parent(self, pipeline: Pipeline, endpoint: Endpoint, runs: Runs, experiment: str) -> None:
        if pipeline.run_id is not None:
            if pipeline.state not in ENDED:
                runs.reopen(pipeline.run_id)
            return
        self.hold()
        found = runs.find(experiment, pipeline.id, PARENT)
        tags = {
            names.TAG_PIPELINE: pipeline.id,
            names.TAG_STAGE: PARENT,
            names.TAG_CONFIG: digest_of(pipeline.config),
            "mlflow.note.content": f"Pipeline `{pipeline.id}`: [its Ray jobs]({endpoint.ray}/#/jobs). "
            f"Its whole configuration is the artifact `config.json`; `adacrossnet show {pipeline.id}` tells its state.",
        }
        run = found[0] if found else runs.create(experiment, pipeline.id, tags)
        self.after("parent run created")
        runs.write(run, json.dumps(pipeline.config, indent=1), "config.json")
        runs.params(run, pipeline.config)
        self.ledger.set_pipeline(pipeline.id, run_id=run)
        pipeline.run_id = run
        self.after("parent run stored")

    def _say(self, pipeline: Pipeline, message: str | None) -> None:
        """What running stages wait for; also that they wait no more, and that a cluster which was away is back."""
        if pipeline.message != message:
            self.ledger.set_pipeline(pipeline.id, message=message)
            pipeline.message = message

    def _advance_stage(
        self, pipeline: Pipeline, stage: Stage, endpoint: Endpoint, jobs: RayJobs, runs: Runs, experiment: str
    ) -> str | None:
        """What its job waits for, where it has waited for long."""
        run = stage.run_id or self._ensure_run(pipeline, stage, runs, experiment)
        attempt = open_attempt(stage)
        if attempt is None:
            if sum(one.state == LOST for one in stage.attempts) >= _MOST_LOST:
                self.ledger.set_stage(stage.id, state=FAILED, message=f"its job was lost {_MOST_LOST} times with the cluster's head")
                return None
            if stage.not_before is not None and time.time() < stage.not_before:
                return retries.waits(pipeline, stage)
            try:
                check(pipeline.config, "its stored config")
            except ConfigError as error:  # it was queued by another version, whose schema took it
                self.ledger.set_stage(stage.id, state=FAILED, message=str(error))
                return None
            self.hold()
            self.ledger.start_attempt(stage)
            self.after("attempt recorded")
            fresh = next(one for one in self.ledger.get(pipeline.id).stages if one.id == stage.id)
            attempt = open_attempt(fresh)
            assert attempt is not None
        elif stage.state != RUNNING:  # the pipeline was given up and reopened while this job ran on
            self.ledger.set_stage(stage.id, state=RUNNING)
        if attempt.state == QUEUED:
            self._submit(pipeline, stage, attempt, run, endpoint, jobs, runs)
        job = jobs.job(attempt.job_id)
        if job is None:  # the head restarted and its job table died with it; the MLflow run is kept for the next attempt
            self.ledger.end_attempt(attempt, LOST, None, "the job server does not know it any more")
            return None
        overdue = retries.overdue(pipeline, attempt)
        if job.status not in ray_jobs.TERMINAL:
            if overdue:
                jobs.stop(attempt.job_id)  # asked again at each look until it has ended
            return overdue or _waits(stage, attempt, job)
        self.hold()
        self.after("job end seen")
        state = {ray_jobs.SUCCEEDED: SUCCEEDED, ray_jobs.FAILED: FAILED}.get(job.status, CANCELLED)
        message = self._keep_log(pipeline, stage, attempt, job, jobs)
        if state == CANCELLED and overdue:
            state, message = FAILED, overdue
        again = retries.again(pipeline, stage, job, message or "") if state == FAILED else None
        if again is not None:
            runs.tag(run, names.TAG_RETRIED, again.words)
            _tell(f"{attempt.job_id} failed and is tried again: {again.words}", pipeline.id, stage.name)
            self.ledger.retry(attempt, again.cause, again.words, again.not_before, again.changes)
            self.after("retry recorded")
            return None
        cause = failures.of(job, message or "", overdue is not None) if state == FAILED else None
        self._end(stage, attempt, run, state, message, runs, cause)
        return None

    def _ensure_run(self, pipeline: Pipeline, stage: Stage, runs: Runs, experiment: str) -> str:
        self.hold()
        assert pipeline.run_id is not None
        found = runs.find(experiment, pipeline.id, stage.name)  # made by a process that died before it could say so
        tags = {names.TAG_PIPELINE: pipeline.id, names.TAG_STAGE: stage.name, "mlflow.parentRunId": pipeline.run_id}
        tags |= {names.TAG_CONFIG: digest_of(pipeline.config), "mlflow.source.type": "JOB", "mlflow.source.name": _module(stage)}
        run = found[0] if found else runs.create(experiment, stage.name, tags)
        self.after("stage run created")
        if stage.name == "pretrain":  # the run with the curves
            runs.params(run, pipeline.config)
        self.ledger.set_stage(stage.id, run_id=run)
        stage.run_id = run
        self.after("stage run stored")
        return run

    def _submit(
        self, pipeline: Pipeline, stage: Stage, attempt: Attempt, run: str, endpoint: Endpoint, jobs: RayJobs, runs: Runs
    ) -> None:
        self.hold()
        digest = code_digest(self.tree)
        runs.reopen(run)
        runs.tag(run, names.TAG_RAY_JOB, attempt.job_id)
        runs.tag(run, names.TAG_CODE, digest)
        runs.tag(run, "mlflow.note.content", f"[The Ray job {attempt.job_id}]({endpoint.ray}/#/jobs/{attempt.job_id})")
        env = environment(pipeline, stage, run, endpoint, digest)
        metadata = {"pipeline": pipeline.id, "stage": stage.name, "attempt": str(attempt.number), "mlflow_run": run}
        with clean_copy(self.tree) as folder:
            driver = Driver.model_validate((pipeline.config["cluster"].get("drivers") or {}).get(stage.name) or {})
            jobs.submit(attempt.job_id, f"python -m {_module(stage)}", folder, env, metadata, driver)
        self.after("job submitted")
        attempt.started = time.time()
        attempt.state = RUNNING
        self.ledger.set_attempt(attempt.id, state=RUNNING, started=attempt.started)
        self.ledger.runs(pipeline.id)
        _tell(f"{attempt.job_id} is submitted", pipeline.id, stage.name)
        self.after("job recorded")

    def _keep_log(self, pipeline: Pipeline, stage: Stage, attempt: Attempt, job: ray_jobs.Job, jobs: RayJobs) -> str | None:
        """Keeps the job's log beside the results; returns why the job failed, none when it did not."""
        log = jobs.logs(attempt.job_id)
        self.home.keep_log(pipeline.id, stage.name, attempt.number, log)
        if job.status == ray_jobs.SUCCEEDED:
            return None
        if job.status == ray_jobs.STOPPED:
            return "its job was stopped"
        return error_in(log, stage.name) or (job.message or "no reason given").splitlines()[0]

    def _end(
        self, stage: Stage, attempt: Attempt, run: str | None, state: str, message: str | None, runs: Runs, cause: str | None = None
    ) -> None:
        if run is not None:
            runs.close(run, _ENDING[state])
        self.after("stage run closed")
        _tell(f"{attempt.job_id} has ended: {state}{f', {message}' if message else ''}", stage.pipeline_id, stage.name)
        self.ledger.end_attempt(attempt, STOPPED if state == CANCELLED else state, state, message, cause)
        self.after("stage closed")

    def _jobs_ended(self, pipeline: Pipeline, jobs: RayJobs) -> bool:
        """Stops what a pipeline that was given up still runs; whether nothing of it runs any more.

        A cluster that is away is not waited for: an attempt that was not seen to end stays open, for `reopen` to find its job again,
        as does one whose job succeeded after all.
        """
        stopping = False
        for stage in pipeline.stages:
            attempt = open_attempt(stage)
            if attempt is None:
                continue
            self.hold()
            try:
                job = jobs.job(attempt.job_id)
                if job is not None and job.status not in ray_jobs.TERMINAL:
                    jobs.stop(attempt.job_id)  # asked again at each look until it has ended
                    stopping = True
                    continue
            except ClusterAway:
                continue
            if job is None or job.status != ray_jobs.SUCCEEDED:
                self.ledger.end_attempt(attempt, STOPPED, None, "its pipeline had ended")
        return not stopping

    def _cancel(self, pipeline: Pipeline, jobs: RayJobs, runs: Runs, experiment: str) -> None:
        stopping = False
        for stage in pipeline.stages:
            attempt = open_attempt(stage)
            if attempt is None:
                continue
            job = jobs.job(attempt.job_id)
            if job is not None and job.status not in ray_jobs.TERMINAL:
                jobs.stop(attempt.job_id)  # asked again at each look until it has ended
                stopping = True
                continue
            message = None if job is None else self._keep_log(pipeline, stage, attempt, job, jobs)
            state = SUCCEEDED if job is not None and job.status == ray_jobs.SUCCEEDED else CANCELLED
            self._end(stage, attempt, stage.run_id, state, message, runs)
        if not stopping:
            self._close(pipeline, CANCELLED, "cancelled on request", runs, experiment)

    def _close(self, pipeline: Pipeline, state: str, message: str | None, runs: Runs, experiment: str) -> None:
        """Ends the pipeline: every run of it that stands open or in no row is closed first, then the row."""
        self.hold()
        rows = {stage.run_id: stage.state for stage in self.ledger.get(pipeline.id).stages}
        for run in runs.find(experiment, pipeline.id):
            if run in rows:
                runs.close(run, _ENDING.get(rows[run], mlflow_runs.KILLED))
            elif run != pipeline.run_id and runs.status(run) == mlflow_runs.RUNNING:  # of no row, or of a trial that ended with its sweep
                runs.close(run, mlflow_runs.KILLED)
        self._collect(pipeline, state, runs)
        self.after("results collected")
        assert pipeline.run_id is not None
        runs.close(pipeline.run_id, _ENDING[state])
        self.after("parent run closed")
        _tell(f"{pipeline.id} has ended: {state}", pipeline.id)
        self.ledger.finish(pipeline, state, message)
        self.after("pipeline closed")

    def _collect(self, pipeline: Pipeline, state: str, runs: Runs) -> None:
        """Keeps the summary and the pictures while MLflow is there; without them the pipeline is closed all the same."""
        fresh = self.ledger.get(pipeline.id)
        fresh.state = state
        try:
            summary.collect(fresh, runs, self.home)
        except (TrackingAway, OSError, ValueError) as error:
            _log.warning("%s: its results could not be collected: %s", pipeline.id, error)


def _tell(what: str, pipeline: str, stage: str | None = None) -> None:
    """A line of the submitter's log, with the ids that a log's collector searches by."""
    _log.info(what, extra={"pipeline": pipeline, "stage": stage})


def _waits(stage: Stage, attempt: Attempt, job: ray_jobs.Job) -> str | None:
    """What a job that has been pending for long waits for; none for others."""
    minutes = (time.time() - (attempt.started or time.time())) / 60
    if job.status != ray_jobs.PENDING or minutes * 60 < _PATIENT_S:
        return None
    reason = (job.message or "the job server gives no reason").splitlines()[0]
    return f"{stage.name}: its job has been pending for more than {int(_PATIENT_S / 60)} minutes: {reason}"


def _under_way(stage: Stage) -> bool:
    """Whether it has a job, also one that was lost, or that a pipeline which was given up has left running."""
    return stage.state == RUNNING or open_attempt(stage) is not None


def _module(stage: Stage) -> str:
    """The job module of a stage: `parts-2` is the second stage of `jobs.parts`."""
    return f"jobs.{stage.name.partition('-')[0]}"


def open_attempt(stage: Stage) -> Attempt | None:
    """The stage's last attempt while it has not ended."""
    last = stage.attempts[-1] if stage.attempts else None
    return last if last is not None and last.state in (QUEUED, RUNNING) else None
