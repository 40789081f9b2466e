"""Become another program that dies with its parent: run by path, with nothing but the standard library.

    python -I -S launch.py --parent PID --death-signal 9 [--user UID:GID] -- COMMAND ...

Between fork and exec a Python child may hold locks that nobody will release, so this is a program of its own and not a
`preexec_fn`. On Linux the kernel sends the death signal when the parent ends, `kill -9` included; elsewhere the next
start finds what is left over.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    options, command = _split(arguments)
    if "--user" in options:
        uid, gid = options["--user"].split(":")
        _become(int(uid), int(gid))
    if sys.platform == "linux":
        # After the change of user, which clears it.
        _prctl(PR_SET_PDEATHSIG, int(options["--death-signal"]))
    if os.getppid() != int(options["--parent"]):
        sys.exit("the supervisor is gone")
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command line, never a shell's


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    end = arguments.index("--")
    return dict(zip(arguments[:end:2], arguments[1:end:2], strict=True)), arguments[end + 1 :]


def _become(uid: int, gid: int) -> None:
    """Change the user and keep one right of root: to enter folders, so that what lies below a closed /root still works.

    Without the fix-up at a change of user access(2) counts that right too, by which PostgreSQL judges its own programs.
    Root's other rights then stay until they are dropped: where that fails nothing is started.
    """
    linux = sys.platform == "linux"
    unfixed = linux and _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0
    keep = unfixed or (linux and _prctl(PR_SET_KEEPCAPS, 1) == 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep and not _keep_folder_access() and unfixed:
        sys.exit("root's rights could not be dropped")


def _keep_folder_access() -> bool:
    """Drop every right but one; whether that worked."""
    right = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(right, right, right, 0, 0, 0)  # effective, permitted, inheritable; then the high words
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, sets) != 0:
        return False
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)
    return True


def _prctl(option: int, *values: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    result: int = ctypes.CDLL(None, use_errno=True).prctl(option, *padded)
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
