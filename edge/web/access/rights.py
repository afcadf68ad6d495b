"""The table of rights: the role that each route of the page needs. A route that is not in it is refused."""

from __future__ import annotations

from edge.people.roles import Role

EVERYBODY_MAY = frozenset({
    "static",  # the sign-in page's own style and scripts
    "metrics.healthz",  # the engine asks whether its page lives
    "overview.healthz",
    "people.sign_in_page",
    "people.sign_in",
    "people.sign_out",
    "people.join",
    "people.me",
    "words.words_of",
})  # fmt: skip
RIGHTS: dict[str, Role | None] = {
    **dict.fromkeys(EVERYBODY_MAY),
    "pages.station": Role.VIEWER,
    "pages.history": Role.VIEWER,
    "pages.inspection": Role.VIEWER,
    "pages.wall": Role.VIEWER,
    "openapi.description": Role.VIEWER,
    "api.status": Role.VIEWER,
    "api.inspections": Role.VIEWER,
    "api.inspection": Role.VIEWER,
    "api.reference": Role.VIEWER,
    "downloads.reference": Role.VIEWER,
    "reviews.review_page": Role.OPERATOR,
    "reviews.see": Role.OPERATOR,
    "reviews.queue": Role.OPERATOR,
    "reviews.listed": Role.OPERATOR,
    "reviews.answer": Role.OPERATOR,
    "downloads.reviewed": Role.OPERATOR,
    "limit.limit_page": Role.OPERATOR,
    "limit.limit": Role.OPERATOR,
    "limit.apply": Role.ENGINEER,
    "api.shift_report": Role.VIEWER,
    "shift.shift_page": Role.VIEWER,
    "shift.shift": Role.VIEWER,
    "shift.orders": Role.VIEWER,
    "shift.set_order": Role.OPERATOR,
    "service.service_page": Role.VIEWER,
    "service.service": Role.VIEWER,
    "service.verify": Role.OPERATOR,
    "service.judge_again": Role.OPERATOR,
    "service.download": Role.ENGINEER,
    "downloads.live": Role.VIEWER,
    "downloads.held": Role.VIEWER,
    "downloads.stored": Role.VIEWER,
    "downloads.history": Role.VIEWER,
    "metrics.metrics": Role.VIEWER,
    "overview.overview": Role.VIEWER,
    "overview.stations": Role.VIEWER,
    "overview.metrics": Role.VIEWER,
    "api.inspect": Role.OPERATOR,
    "commands.trigger": Role.OPERATOR,
    "commands.recipe": Role.OPERATOR,
    "commands.selftest": Role.OPERATOR,
    "bundles.bundles_page": Role.ENGINEER,
    "bundles.bundles": Role.ENGINEER,
    "bundles.wish": Role.ENGINEER,
    "bundles.upload": Role.ENGINEER,
    "commissioning.set_up_page": Role.ENGINEER,
    "commissioning.set_up": Role.ENGINEER,
    "commissioning.take_step": Role.ENGINEER,
    "commissioning.by_hand": Role.ENGINEER,
    "commissioning.region": Role.ENGINEER,
    "commissioning.certify": Role.ENGINEER,
    "people.people_page": Role.ENGINEER,
    "people.listed": Role.ENGINEER,
    "people.add": Role.ENGINEER,
    "people.renew_code": Role.ENGINEER,
    "people.remove": Role.ENGINEER,
    "people.add_token": Role.ENGINEER,
    "people.revoke_token": Role.ENGINEER,
    "people.audit": Role.ENGINEER,
}
ASKS_NOBODY = frozenset({"static", "metrics.healthz", "overview.healthz"})  # answered whatever the list of people is
ASKS_A_PERSON = frozenset(  # a guest who opens one of these in a browser is led to the sign-in
    {"pages.station", "pages.history", "pages.inspection", "pages.wall", "overview.overview", "people.people_page"}
    | {"reviews.review_page", "limit.limit_page", "shift.shift_page", "bundles.bundles_page"}
    | {"commissioning.set_up_page", "service.service_page"}
)
