from __future__ import annotations

import pytest


@pytest.fixture(params=["stock", "stock_by_given_event"])
def kaufmann_app(request: pytest.FixtureRequest):
    """The service under test; both ways to write it have to do the same."""
    import stock
    import stock_by_given_event

    return {"stock": stock, "stock_by_given_event": stock_by_given_event}[request.param].kaufmann
