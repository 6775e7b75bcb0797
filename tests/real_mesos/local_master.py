"""Runs a real Mesos master and agents in this process: `local_master.py LIBRARIES WORK_DIRECTORY AGENTS`.

The address is LIBPROCESS_IP and LIBPROCESS_PORT; flags of the master and the agents are MESOS_… variables. It calls
`mesos::internal::local::launch`, which `mesos-local` is made of, so objects of C++ are laid out by hand below.
"""

import ctypes
import mmap
import os
import signal
import sys
from pathlib import Path

STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
INITIALIZE = f"_ZN7process10initializeERK6OptionI{STRING}ES9_S9_"
FLAGS_CONSTRUCTOR = "_ZN5mesos8internal5local5FlagsC1Ev"
LAUNCH = "_ZN5mesos8internal5local6launchERKNS1_5FlagsEPNS_9allocator9AllocatorE"

# IOSwitchboard::create(flags, bool local) hands `local` on here: movzbl %r13b, %edx. Where it is true, as it is for mesos-local, tasks
# write to this process's output and there are no sessions; xor %edx, %edx makes it false, as it is for an agent by itself.
SWITCHBOARD = "_ZN5mesos8internal5slave13IOSwitchboard6createERKNS1_5FlagsEb"
LOCAL_OFFSET, LOCAL_GIVEN, LOCAL_FALSE = 0x6D, b"\x41\x0f\xb6\xd5", b"\x31\xd2\x90\x90"

# Within mesos::internal::local::Flags: `std::string work_dir` begins at 8, `int num_slaves` is at 40.
WORK_DIRECTORY_OFFSET = 8
AGENTS_OFFSET = 40


class OptionalString(ctypes.Structure):
    """Option<std::string>: state (0 some, 1 none), then the string: pointer, length, inline buffer."""

    _fields_ = (
        ("state", ctypes.c_int),
        ("pointer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("inline", ctypes.c_char * 16),
    )

    @classmethod
    def none(cls) -> "OptionalString":
        return cls(state=1)

    @classmethod
    def some(cls, text: bytes) -> "OptionalString":
        value = cls(state=0, length=len(text), inline=text)
        value.pointer = ctypes.addressof(value) + cls.inline.offset
        return value


def main(libraries: Path, work: Path, agents: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(work)  # the default work directory is below it
    ctypes.CDLL(str(libraries / "libpython2.so"), mode=ctypes.RTLD_GLOBAL)
    mesos = ctypes.CDLL(str(libraries / "libmesos.so"), mode=os.RTLD_LAZY | ctypes.RTLD_GLOBAL)

    give_sandboxes(mesos)

    # The first argument delegates: paths without a process name, such as /state, go to the process "master".
    delegate, none, also_none = OptionalString.some(b"master"), OptionalString.none(), OptionalString.none()
    initialize = getattr(mesos, INITIALIZE)
    initialize.restype = ctypes.c_bool
    initialize(ctypes.byref(delegate), ctypes.byref(none), ctypes.byref(also_none))

    flags = ctypes.create_string_buffer(65536)
    constructor = getattr(mesos, FLAGS_CONSTRUCTOR)
    constructor.restype = None
    constructor(flags)
    pointer = ctypes.c_void_p.from_buffer(flags, WORK_DIRECTORY_OFFSET).value
    length = ctypes.c_size_t.from_buffer(flags, WORK_DIRECTORY_OFFSET + 8).value
    count = ctypes.c_int.from_buffer(flags, AGENTS_OFFSET)
    directory = ctypes.string_at(pointer, length).decode()
    if not directory.endswith("/mesos/work") or count.value != 1:
        sys.exit(f"the flags of mesos-local are not laid out as expected: {directory!r}, {count.value}")
    count.value = agents

    master = ctypes.create_string_buffer(4096)  # PID<Master>, returned by hidden pointer
    launch = getattr(mesos, LAUNCH)
    launch.restype = ctypes.c_void_p
    launch(master, flags, None)
    print(f"a master and {agents} agents below {directory}", flush=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # destructors of libmesos would wait for each other
    while True:
        signal.pause()


def give_sandboxes(mesos: ctypes.CDLL) -> None:
    """What tasks write goes to the files of their sandboxes, and commands may be run beside them."""
    address = ctypes.cast(getattr(mesos, SWITCHBOARD), ctypes.c_void_p).value + LOCAL_OFFSET
    found = ctypes.string_at(address, len(LOCAL_GIVEN))
    if found != LOCAL_GIVEN:
        sys.exit(f"IOSwitchboard::create is not the expected code: {found.hex()}")
    start = address & -mmap.PAGESIZE
    span = address + len(LOCAL_FALSE) - start
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), span, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
        sys.exit("the code of libmesos cannot be made writable")
    ctypes.memmove(address, LOCAL_FALSE, len(LOCAL_FALSE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
