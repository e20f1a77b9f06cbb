"""Ends one rank or all ranks by kill -9 at named stages of an item, then repeats the run to its end."""

import functools
from dataclasses import replace

from fault_case import DONE, NIGHTLY, STUB, Batch, Fault, FaultCase, Layout, check, wait_until

REPEATS = 20 if NIGHTLY else 5
LAYOUTS = [Layout(2, 1), Layout(2, 2), Layout(4, 2), Layout(0, 1), Layout(2, 1)]
AGAIN = [Layout(0, 1), Layout(2, 2), Layout(2, 1), Layout(2, 1), Layout(4, 2)]

# The calls that the fault library watches; {id} is an item, {rank} a rank of its group. Every rank enters a stage. The leader makes
# the other calls.
STAGES = {
    "load": ("stage", "stage:load:engine:{rank}"),
    "owner_file": ("write", "*/.claims/.owner-*"),
    "claim": ("link", "*/.claims/{id}.claim"),
    "text": ("stage", "stage:text:{id}:{rank}"),
    "image": ("stage", "stage:image:{id}:{rank}"),
    "encode": ("stage", "stage:encode:{id}:{rank}"),
    "high_noise_step": ("stage", "stage:high_noise:{id}:{rank}"),
    "low_noise_step": ("stage", "stage:low_noise:{id}:{rank}"),
    "state_being_written": ("write", "*/.state/.{id}.*.safetensors"),
    "rename_of_state": ("rename", "*/.state/{id}.*.safetensors"),
    "rename_of_state_record": ("rename", "*/.state/{id}.json"),
    "older_state_removed": ("unlink", "*/.state/{id}.*.safetensors"),
    "decode": ("stage", "stage:decode:{id}:{rank}"),
    "video_being_written": ("write", "*/.{id}.*.mp4"),
    "video_written": ("fsync", "*/.{id}.*.mp4"),
    "rename_of_video": ("rename", "*/{id}.mp4"),
    "rename_of_latents": ("rename", "*/{id}.latent.safetensors"),
    "rename_of_sidecar": ("rename", "*/out/{id}.json"),
    "release_of_claim": ("unlink", "*/.claims/{id}.claim"),
    "owner_file_removed": ("unlink", "*/.claims/.owner-*"),
    "run_record": ("rename", "*/run.json"),
}
HAS_SIDECAR = ("release_of_claim", "owner_file_removed", "run_record")  # the item is finished when this stage comes
LEAVES_FILES_THAT_AGE = ("owner_file", "run_record")  # nothing says whose they are: they go when they are old
SAVES_STATES = ("state_being_written", "rename_of_state", "rename_of_state_record", "older_state_removed")
SEVERAL_TIMES = {  # how often in one item
    "state_being_written": 3, "rename_of_state": 3, "rename_of_state_record": 3, "older_state_removed": 2, "high_noise_step": 2,
    "low_noise_step": 2, "video_being_written": 6}


class KillMatrix(FaultCase):
    def fault(self, stage: str, layout: Layout, repeat: int) -> Fault:
        call, pattern = STAGES[stage]
        ranks = layout.ranks if stage == "load" else layout.group_size
        victim = repeat % max(ranks, 1)
        pattern = pattern.format(id=f"item{repeat % self.items}", rank=victim)
        return Fault(call, pattern, action="kill", at=1 + repeat % SEVERAL_TIMES.get(stage, 1))

    def kill(self, stage: str, everybody: bool, repeat: int) -> None:
        layout, again = LAYOUTS[repeat % len(LAYOUTS)], AGAIN[repeat % len(AGAIN)]
        fault = self.fault(stage, layout, repeat)
        after = "-after" if repeat % 2 else ""
        with Batch(self.items) as batch:
            fault = replace(fault, action=("hold" if everybody else "kill") + after)
            saving = ["--checkpoint-interval", "0"] if stage in SAVES_STATES else []
            running = batch.start(layout, *saving, fault=fault)
            if everybody:
                wait_until(lambda: batch.fault_log.exists() or running.process.poll() is not None, "the fault")
                running.kill_all(STUB)
            ended = running.wait()
            check(batch.fault_log.exists(), f"the run never came to {fault}: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            batch.check_nothing_partial(self.reference)
            finished, made, states = batch.finished(), batch.engine_runs(), batch.saved_states()
            # Another group of the run may have taken the victim's item over before the launcher ended it too.
            may_be_made_twice = set() if stage in HAS_SIDECAR else {f"item{repeat % self.items}"}
            twice = {name for name in made if made.count(name) > 1}
            check(twice <= may_be_made_twice, f"made twice: {twice}")

            if stage in LEAVES_FILES_THAT_AGE:
                batch.let_files_age()
            ended = batch.run(again)
            check(ended.code == DONE, str(ended))
            batch.check_complete(self.reference, finished, made)
            batch.check_resumed(states, finished)

    def stage(self, stage: str) -> None:
        self.all_of((f"{stage}, {'all ranks' if everybody else 'one rank'}, repeat {repeat}",
                     functools.partial(self.kill, stage, everybody, repeat))
                    for everybody in (False, True) for repeat in range(REPEATS))


for _stage in STAGES:
    setattr(KillMatrix, f"test_{_stage}", lambda self, stage=_stage: self.stage(stage))
