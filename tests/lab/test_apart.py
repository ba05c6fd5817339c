"""Work in a process of its own: what is said to it arrives, and it ends with whoever asked for it."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc

from perdure_lab.lab.apart import Worker
from support.families import gone

ADDS_UP = """
import threading
from perdure_lab.lab.apart import asked, done, end_with_the_asker, tell

heard = threading.Semaphore(0)
number = asked(int)
tell(number)
end_with_the_asker(heard.release)
for count in range(number):
    heard.acquire()
    tell(count)
done()
"""

FAILS = "from perdure_lab.lab.apart import asked\nasked(int)\nraise SystemExit('it may not')"


def worker(program: str) -> Worker:
    return Worker([sys.executable, "-c", program])


async def test_lines_that_come_together_are_all_heard() -> None:
    async with asyncio.timeout(30), worker(ADDS_UP) as adding:
        for line in (b"3", b"", b"", b""):
            adding.say(line)
        assert [await adding.told(int) for _ in range(5)] == [3, 0, 1, 2, None]


async def test_what_it_complained_of_at_its_end_is_known() -> None:
    failing = worker(FAILS)
    async with asyncio.timeout(30), failing:
        failing.say(b"1")
        assert await failing.told(int) is None
    assert failing.complaint == "it may not"


COMPLAINS_MUCH = "import sys\nfor _ in range(64): sys.stderr.write('x' * 500_000)\nraise SystemExit(' it may not')"


async def test_of_much_that_it_complained_of_only_the_end_is_kept() -> None:
    tracemalloc.start()
    try:
        async with asyncio.timeout(60), worker(COMPLAINS_MUCH) as complaining:
            assert await complaining.told(int) is None
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert complaining.complaint.endswith("xx it may not")
    assert len(complaining.complaint) <= 400


async def test_one_that_cannot_be_started_has_ended_and_complained_of_that() -> None:
    async with Worker(["/no/such/program"]) as none:
        none.say(b"1")
        assert await none.told(int) is None
    assert none.complaint.startswith("it cannot be started: ")
    assert "No such file" in none.complaint


async def test_it_is_left_to_end_by_itself_so_that_its_last_words_are_known() -> None:
    program = "import sys\nsys.stdout.write('1\\n')\nsys.stdout.flush()\nsys.stdin.read()\nsys.exit('farewell')"
    async with asyncio.timeout(30), worker(program) as listening:
        assert await listening.told(int) == 1
    assert listening.complaint == "farewell"


async def test_one_that_hangs_is_killed() -> None:
    program = "import os, time\nfrom perdure_lab.lab.apart import tell\ntell(os.getpid())\ntime.sleep(60)"
    async with asyncio.timeout(30):
        async with worker(program) as hanging:
            pid = await hanging.told(int)
        assert pid is not None
        await gone(pid)


async def test_it_ends_when_it_is_not_wanted_any_more() -> None:
    async with asyncio.timeout(30):
        program = f"import os; from perdure_lab.lab.apart import tell; tell(os.getpid())\n{ADDS_UP}"
        async with worker(program) as adding:
            adding.say(b"3")
            pid = await adding.told(int)
        assert pid is not None
        await gone(pid)
