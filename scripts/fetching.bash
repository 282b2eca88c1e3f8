# To be sourced by what fetches Python packages, with uv or pip.

# uv does not read pip's settings: a site that names its index or certificates to pip means uv too.
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
# An index that is slow for a while must not cost the gigabytes that are there already.
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300} UV_HTTP_RETRIES=${UV_HTTP_RETRIES:-8}
export PIP_TIMEOUT=${PIP_TIMEOUT:-60} PIP_RETRIES=${PIP_RETRIES:-8}
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME
