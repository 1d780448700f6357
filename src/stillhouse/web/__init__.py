"""The HTTP service over vector indexes (SPEC section 10).

    bytes ── protocol ──▶ App ── guard, route, body ──▶ handler ── lane (threads) ──▶ VectorStore
             (uvicorn)     ◀── one place that makes problem details of errors ──

`routes.ROUTES` is the one table of what can be asked: the dispatcher, the OpenAPI document, the
page at `/docs`, the metrics' labels and the tests all read it. Importing this package loads no
server; `stillhouse.web.server` does.
"""
