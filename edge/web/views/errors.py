"""Answers for every error: JSON with one line for programs, a page for people."""

from __future__ import annotations

from flask import Flask, Response, jsonify, make_response, render_template, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edge.core.types import EdgeError, one_line
from edge.inference.preprocess import MAX_FILE_BYTES

PROGRAM_PATHS = ("/api/", "/metrics", "/healthz", "/history.csv")
FILE_PATHS = ("/live.jpg", "/shown/", "/pictures/", "/references/", "/reviewed.zip", "/diagnostics.zip")
TITLES = {
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    413: "File too large",
    421: "Wrong address",
    503: "Not available now",
}
PLAIN = {  # in place of the server's own words
    400: "the request cannot be read; load the page again",
    404: "there is nothing at this address; go back to the station",
    405: "this address takes no such request; see docs/reference/api.md",
}


def install(app: Flask) -> None:
    """Answer HTTP errors and the device's own errors without ever showing a traceback."""

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        code = error.code or 500
        if isinstance(error, RequestEntityTooLarge):
            return _answer(code, f"the upload is over the limit of {MAX_FILE_BYTES // 2**20} MiB; send a smaller image")
        own = error.description if error.description != type(error).description else None
        return _answer(code, own or PLAIN.get(code, error.name), error)

    @app.errorhandler(EdgeError)
    def unavailable(error: EdgeError) -> Response:
        return _answer(503, one_line(error))


def _answer(code: int, text: str, error: HTTPException | None = None) -> Response:
    unknown_host = request_ctx.url_adapter is None  # a Host that is no name: no link of the page can be written
    if unknown_host or request.path.startswith(PROGRAM_PATHS) or _program_wants_file():
        response = make_response(jsonify(error=text), code)
    else:
        title = TITLES.get(code, "Something went wrong")
        response = make_response(render_template("error.html", code=code, title=title, text=text), code)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(allowed)
    retry_after = getattr(error, "retry_after", None)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    if code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _program_wants_file() -> bool:
    """Return whether somebody other than a person at a browser asked for a file: only a browser names text/html."""
    return request.path.startswith(FILE_PATHS) and "text/html" not in request.headers.get("Accept", "")
