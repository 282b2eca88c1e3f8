"""What torch has compiled is kept apart for each kind of processor."""

import os
from hashlib import sha256
from pathlib import Path

import torch

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def keep_compiled_code_apart() -> None:
    """Have torch keep its compiled code in a folder for processors like this one.

    It lies in torch's own folder for such code, which several machines may share. torch finds code
    there by what it computes and not by whom it was made for: code for AVX-512 answers nonsense
    where the registers are those of AVX2, and other code ends with an unknown instruction.
    """
    # What compiles is imported by who compiles.
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    folder, kind = Path(cache_dir()), _kind_of_processor()
    # It may have been set by this process, or by one that has started it.
    if folder.name != kind:
        os.environ[_VARIABLE] = str(folder / kind)


def _kind_of_processor() -> str:
    """Return a name that processors share which the same code is for.

    The compiler uses what instructions there are (``-march=native``), torch the widest registers
    that ``ATEN_CPU_CAPABILITY`` allows.
    """
    found = torch.cpu.get_capabilities()
    # Among the others are sizes of caches and numbers of cores.
    instructions = sorted(name for name, has in found.items() if has is True)
    digest = sha256(" ".join(instructions).encode()).hexdigest()
    return f"{torch.backends.cpu.get_cpu_capability()}-{digest[:12]}".replace(" ", "_")
