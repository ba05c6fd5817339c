"""The process that plays the demo, in private namespaces or on loopback: `python -m perdure_lab.demo.inside`.

It is asked for one `Task`, and tells of its course; see `perdure_lab.lab.apart`. A further line ends it early, with the
report so far.
"""

from __future__ import annotations

import asyncio
import os

from perdure_lab.demo.loopback import Loopback
from perdure_lab.demo.report import FaultResult, Moment, Task, Told
from perdure_lab.demo.run import Demo
from perdure_lab.demo.stage import Stage
from perdure_lab.lab.apart import asked, done, end_with_the_asker, tell
from perdure_lab.lab.tools import LabError, search_path


def main() -> None:
    os.environ["PATH"] = search_path()
    task = asked(Task)
    tell(asyncio.run(_play(task)))
    done()


async def _play(task: Task) -> Told:
    """The last word."""
    stage = _stage(task)
    try:
        await stage.build()
    except LabError as error:
        return Told(refusal=str(error))
    demo, loop = Demo(stage, task.seconds, _tell), asyncio.get_running_loop()
    end_with_the_asker(lambda: loop.call_soon_threadsafe(demo.end))
    try:
        await demo.run()
    except LabError as error:
        return Told(problem=str(error))
    demo.report.network = "private" if task.is_private else "loopback"
    return Told(report=demo.report)


def _stage(task: Task) -> Stage:
    if not task.is_private:
        return Loopback()
    from perdure_lab.demo.private import PrivateNetwork  # which is there on Linux only

    return PrivateNetwork()


def _tell(news: Moment | FaultResult) -> None:
    tell(Told(moment=news) if isinstance(news, Moment) else Told(fault=news))


if __name__ == "__main__":
    main()
