"""What to do about a module that is not there, in words. Loaded when one is missing."""

import os
import sys

# Where the name of the package is not that of its module.
_PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "PyMuPDF",
    "git": "GitPython",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.pubsub_v1": "google-cloud-pubsub",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "magic": "python-magic",
    "MySQLdb": "mysqlclient",
    "nacl": "PyNaCl",
    "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow",
    "pkg_resources": "setuptools",
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socks": "PySocks",
    "telegram": "python-telegram-bot",
    "usb": "pyusb",
    "win32api": "pywin32",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
# Files that say what a function needs.
_LISTS = ("requirements.txt", "pyproject.toml")
_SCRIPT_BYTES_MAX = 1 << 20


def explained(error, path):
    """The sentence for a `ModuleNotFoundError` of the code at `path`; None without advice."""
    name = error.name
    if not name:
        return None
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"No module named '{name}': Python {version} of {sys.executable} is without it"
    if name != top and _is_there(top) and name not in _PACKAGES:
        return None
    package = _PACKAGES.get(name) or _PACKAGES.get(top) or top
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    told = f"No module named '{name}': "
    if not _imported_by_author(error, folder):
        told += "a package needs it that is installed; "
    listed = _list_of(path, folder)
    if listed:
        return f"{told}install what {listed} lists with: nuclio run --install {path}"
    called = "" if package == top else f" (that is the package {package})"
    return f"{told}install it{called} with: {sys.executable} -m pip install {package}"


def _is_there(top):
    return top in sys.modules and getattr(sys.modules[top], "__file__", None) is not None


def _imported_by_author(error, folder):
    """True if the import statement is in the function's own code."""
    trace, last = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen importlib"):
            last = file
        trace = trace.tb_next
    return last.startswith(folder + os.sep) and "site-packages" not in last[len(folder) :]


def _list_of(path, folder):
    """The name of the file that lists what the function needs, or None."""
    if os.path.isfile(path) and _has_script_block(path):
        return os.path.basename(path)
    for name in _LISTS:
        if os.path.isfile(os.path.join(folder, name)):
            return name
    return None


def _has_script_block(path):
    """An inline block of PEP 723."""
    with open(path, "rb") as file:
        lines = file.read(_SCRIPT_BYTES_MAX).split(b"\n")
    return any(line.rstrip() == b"# /// script" for line in lines)
