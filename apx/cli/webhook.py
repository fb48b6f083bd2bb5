"""`apx webhook`: who is told what happens; send again what was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from apx import bootstrap
from apx.audit.record import Recorder
from apx.audit.webhooks import replay_recorded
from apx.bootstrap import Backends
from apx.cli.key import period_s
from apx.cli.output import AsJson, moment, print_fields, print_json, print_table
from apx.errors import Unsupported
from apx.settings import Settings
from apx.usage import questions
from apx.webhooks.manage import Change, Made, Webhooks, Wish
from apx.webhooks.model import Webhook, shown_webhook

app = typer.Typer(help="Tell addresses of an org what happens to its requests.", no_args_is_help=True)

T = TypeVar("T")
Id = Annotated[str, typer.Argument(help="The webhook's id: wh_…")]


@app.command()
def create(  # noqa: PLR0917 -- typer's options have names
    org: Annotated[str, typer.Option(help="Whose requests it is told of.")],
    url: Annotated[str, typer.Option(help="https, public, no user, query or fragment.")],
    event: Annotated[list[str] | None, typer.Option(help="A type, request.failed; again for more. None: all.")] = None,
    product: Annotated[list[str] | None, typer.Option(help="A product; again for more. None: all.")] = None,
    ordered: Annotated[bool, typer.Option(help="One at a time, in order; a failing one holds up the others.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a webhook, and show its secret this once."""
    wish = Wish(org=org, url=url, events=tuple(event or ()), products=tuple(product or ()), ordered=ordered)
    made = _done(lambda webhooks, stores: webhooks.create(wish, stores.orgs, stores.keys))
    _show_secret(made, f"{made.webhook.id} for {org}: this is the one time that its secret is shown", as_json=as_json)


@app.command("list")
def list_webhooks(
    org: Annotated[str | None, typer.Option(help="Only this org's.")] = None, as_json: AsJson = False
) -> None:
    """List webhooks, without their secrets."""
    found = _done(lambda webhooks, _: webhooks.listed(org))
    if as_json:
        return print_json([shown_webhook(one) for one in found])
    rows = [(one.id, one.org, one.state, ",".join(one.events) or "all", one.url) for one in found]
    return print_table(["WEBHOOK", "ORG", "STATE", "EVENTS", "URL"], rows)


@app.command()
def show(webhook_id: Id, as_json: AsJson = False) -> None:
    """Show what is known of a webhook."""
    shown = shown_webhook(_done(lambda webhooks, _: webhooks.one(webhook_id)))
    if as_json:
        return print_json(shown)
    return print_fields(shown)


@app.command()
def change(  # noqa: PLR0917 -- typer's options have names
    webhook_id: Id,
    url: Annotated[str | None, typer.Option(help="Another address; what waits goes there too.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="In place of the types before; again for more.")] = None,
    product: Annotated[list[str] | None, typer.Option(help="In place of the products before; again for more.")] = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Every type.")] = False,
    all_products: Annotated[bool, typer.Option("--all-products", help="Every product.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change where it is, or what it is told of; its secret stays."""
    asked = Change(
        url=url, events=_chosen("event", event, all_events), products=_chosen("product", product, all_products)
    )
    changed = _done(lambda webhooks, _: webhooks.change(webhook_id, asked))
    return print_json(shown_webhook(changed)) if as_json else print_fields(shown_webhook(changed))


@app.command()
def rotate(
    webhook_id: Id,
    grace: Annotated[str, typer.Option(help="How long the secret before signs too: 24h, 30m, 0s.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make another secret, and show it this once; deliveries are signed by both for the grace period."""
    made = _done(lambda webhooks, _: webhooks.rotate(webhook_id, grace_s=period_s(grace)))
    until_ms = made.webhook.previous_until_ms
    said = f"; the one before signs too until {moment(until_ms / 1000)}" if until_ms else ""
    _show_secret(made, f"{webhook_id} has another secret{said}", as_json=as_json)


@app.command()
def enable(webhook_id: Id, as_json: AsJson = False) -> None:
    """Tell it what happens from now on; `replay` sends what was given up too."""
    _told(_done(lambda webhooks, _: webhooks.enable(webhook_id)), as_json=as_json)


@app.command()
def disable(
    webhook_id: Id, why: Annotated[str, typer.Option(help="Goes into the audit log.")], as_json: AsJson = False
) -> None:
    """Tell it nothing; what waits for it is put with the dead letters."""
    _told(_done(lambda webhooks, _: webhooks.disable(webhook_id, why)), as_json=as_json)


@app.command()
def delete(webhook_id: Id, as_json: AsJson = False) -> None:
    """Forget it, and what waits for it."""
    webhook = _done(lambda webhooks, _: webhooks.delete(webhook_id))
    if as_json:
        return print_json({"id": webhook.id, "org": webhook.org, "deleted": True})
    return print(f"{webhook.id} of {webhook.org} is deleted")


@app.command()
def ping(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send it a `webhook.ping`; prints the `webhook-id` under which it comes."""
    message_id = _done(lambda webhooks, _: webhooks.ping(webhook_id))
    return print_json({"webhook_id": message_id}) if as_json else print(message_id)


@app.command()
def replay(
    webhook_id: Id,
    since: Annotated[str, typer.Option(help="Only what was given up from then on: 2026-11-25T13:00Z.")] = "",
    as_json: AsJson = False,
) -> None:
    """Enable it if it is disabled, and send again what was given up, under the same `webhook-id`s."""
    since_ms = int(questions.moment(since, what="since").timestamp() * 1000) if since else 0

    async def replayed(webhooks: Webhooks, stores: Backends) -> int:
        recorder = Recorder(stores.audit, bootstrap.person())
        return await replay_recorded(recorder, webhooks, webhook_id, since_ms=since_ms)

    queued = _done(replayed)
    return print_json({"queued": queued}) if as_json else print(f"{queued} deliveries are queued again")


def _chosen(option: str, names: list[str] | None, every: bool) -> tuple[str, ...] | None:
    if names and every:
        raise Unsupported(f"--{option} and --all-{option}s: take one of them")
    return () if every else tuple(names) if names else None


def _show_secret(made: Made, said: str, *, as_json: bool) -> None:
    if as_json:
        return print_json(made.shown())
    print(made.secret)
    return typer.echo(said, err=True)


def _told(webhook: Webhook, *, as_json: bool) -> None:
    if as_json:
        return print_json(shown_webhook(webhook))
    return print(f"{webhook.id} of {webhook.org} is {webhook.state}{': ' if webhook.reason else ''}{webhook.reason}")


def _done(act: Callable[[Webhooks, Backends], Awaitable[T]]) -> T:
    """Do something with webhooks, recorded as the person's who runs this."""

    async def done() -> T:
        settings = Settings.load()
        async with bootstrap.backends(settings) as backends:
            stores = backends.by(bootstrap.person())
            return await act(bootstrap.webhooks(settings, stores), stores)

    return asyncio.run(done())
