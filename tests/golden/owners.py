"""Opens autoencoders with the code of those who own their formats, for the scripts that make golden files.

SAELens, sparsify and dictionary_learning come from PyPI. The others are taken from checkouts under the folder that
`OWNERS` names, `target/owners` if it names none:

    git clone https://github.com/OpenMOSS/Language-Model-SAEs llamascopium       # 95281ac7, 2.0.0b34
    git -C llamascopium worktree add ../lm_saes 16ca67a6                         # when Llama Scope was published
    git clone https://github.com/decoderesearch/circuit-tracer circuit-tracer    # 4bb8c0ea, 0.4.1
    git clone https://github.com/openai/sparse_autoencoder sparse_autoencoder    # 4965b941

Of each only the module of the autoencoder is imported, so that what they need for training and plots is not.
"""

import importlib
import os
import sys
import types
import warnings
from pathlib import Path
from unittest.mock import patch

OWNERS = Path(os.environ.get("OWNERS", "target/owners"))
SOURCES = {
    "circuit_tracer": "circuit-tracer/circuit_tracer",
    "llamascopium": "llamascopium/src/llamascopium",
    "lm_saes": "lm_saes/src/lm_saes",
    "sparse_autoencoder": "sparse_autoencoder/sparse_autoencoder",
}


def module(name: str):
    """A module of one of `SOURCES`, without what the package's `__init__` imports."""
    package = name.split(".")[0]
    if package not in sys.modules:
        folder = OWNERS / SOURCES[package]
        assert folder.is_dir(), f"there is no {folder}; see {__file__}"
        empty = types.ModuleType(package)
        empty.__path__ = [str(folder)]
        sys.modules[package] = empty
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def by_saelens(loader: str, folder: Path, repository: str, name: str, factor: float | None = None, **overrides):
    """The autoencoder that `SAE.from_pretrained` makes of a published file by the loader of its kind, with the
    download replaced by files in `folder`, sizes by those of `overrides`, and the scale of the input that its list
    of releases has by `factor`."""
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes import sae

    def here(repo_id, filename, subfolder=None, **_):
        assert repo_id == repository
        return str(folder / (subfolder or "") / filename)

    def load(cfg_overrides, **arguments):
        merged = {**cfg_overrides, **overrides}
        return loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](cfg_overrides=merged, **arguments)

    with warnings.catch_warnings(), patch.object(loaders, "hf_hub_download", here):
        with patch.object(sae, "get_norm_scaling_factor", lambda *_: factor):
            warnings.simplefilter("ignore")
            return sae.SAE.from_pretrained(repository, name, converter=load)
