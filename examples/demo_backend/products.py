"""The demo products: orders, forecast, summaries, exports, payslips, and one that answers with nothing at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

Handler = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]

TICKS = 5
TICK_S = 0.2
MOST_TICKS = 1000
WORD_S = 0.05
EXPORT_S = 60.0
MOST_ORDERS = 100_000

_order_numbers = itertools.count(1)
_orders: dict[str, dict[str, Any]] = {}


def handler_of(path: str) -> Handler:
    """Return what answers `path`; every unknown path is a 404."""
    if path in _EXACT:
        return _EXACT[path]
    first = path.split("/", 2)[1]
    if first == "forecast" and path.endswith("/live"):
        return _forecast_live
    if first == "forecast" and path.endswith("/socket"):
        return _forecast_socket
    return _UNDER.get(first, _unknown)


async def _healthz(_request: web.BaseRequest, _body: bytes) -> web.Response:
    return web.Response(text="ok")


async def _null(_request: web.BaseRequest, _body: bytes) -> web.Response:
    return web.Response()


async def _unknown(request: web.BaseRequest, _body: bytes) -> web.Response:
    return web.json_response({"error": f"nothing at {request.path}"}, status=404)


async def _orders_collection(request: web.BaseRequest, body: bytes) -> web.Response:
    if request.method != "POST":
        return web.json_response({"orders": list(_orders.values())[-100:]})
    try:
        content = json.loads(body) if body else {}
    except ValueError:
        return web.json_response({"error": "the body is not JSON"}, status=400)
    number = f"ord-{next(_order_numbers):06d}"
    order = {"order": number, "received": content}
    _orders[number] = order
    if len(_orders) > MOST_ORDERS:
        del _orders[next(iter(_orders))]
    return web.json_response(order, status=201, headers={"location": f"/orders/{number}"})


async def _order(request: web.BaseRequest, _body: bytes) -> web.Response:
    number = request.path.removeprefix("/orders/")
    order = _orders.get(number)
    if order is None:
        return web.json_response({"error": f"no order {number}"}, status=404)
    if request.method == "DELETE":
        del _orders[number]
        return web.Response(status=204)
    return web.json_response(order)


def _weather(city: str) -> dict[str, Any]:
    seed = zlib.crc32(city.encode())
    return {"city": city, "celsius": seed % 35 - 5, "rain_percent": seed // 7 % 101}


async def _forecast(request: web.BaseRequest, _body: bytes) -> web.Response:
    return web.json_response(_weather(request.path.split("/")[2]))


async def _forecast_live(request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
    ticks = min(int(request.query.get("ticks", TICKS)), MOST_TICKS)
    weather = _weather(request.path.split("/")[2])
    stream = await _event_stream(request)
    for tick in range(ticks):
        await stream.write(f"id: {tick}\nevent: weather\ndata: {json.dumps(weather | {'tick': tick})}\n\n".encode())
        await asyncio.sleep(TICK_S)
    return stream


async def _forecast_socket(request: web.BaseRequest, _body: bytes) -> web.StreamResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 20)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def _summaries(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Say the text's words one by one, as language models do: `data: {"word": …}`, at last `data: [DONE]`."""
    word_s = float(request.query.get("word_ms", WORD_S * 1000)) / 1000
    stream = await _event_stream(request)
    for word in _words(body):
        await stream.write(f"data: {json.dumps({'word': word})}\n\n".encode())
        await asyncio.sleep(word_s)
    await stream.write(b"data: [DONE]\n\n")
    return stream


def _words(body: bytes) -> list[str]:
    try:
        text = str(json.loads(body)["text"])
    except (ValueError, KeyError, TypeError):
        text = "A short summary of what was sent"
    return text.split()[:MOST_TICKS]


async def _event_stream(request: web.BaseRequest) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
    await stream.prepare(request)
    return stream


async def _exports(request: web.BaseRequest, _body: bytes) -> web.Response:
    """Take `?seconds=`; the server cancels this when the client goes away, and records it."""
    seconds = float(request.query.get("seconds", EXPORT_S))
    await asyncio.sleep(seconds)
    return web.json_response({"export": "done", "seconds": seconds})


async def _payslips(request: web.BaseRequest, _body: bytes) -> web.Response:
    _, _, employee, *month = request.path.split("/")
    return web.json_response({"employee": employee, "month": month[0] if month else "latest", "net_usd": 4200})


_EXACT: dict[str, Handler] = {
    "/healthz": _healthz,
    "/null": _null,
    "/orders": _orders_collection,
    "/orders/": _orders_collection,
    "/summaries": _summaries,
    "/summaries/": _summaries,
    "/exports": _exports,
    "/exports/": _exports,
}
_UNDER: dict[str, Handler] = {
    "orders": _order,
    "forecast": _forecast,
    "summaries": _summaries,
    "exports": _exports,
    "staff-payslips": _payslips,
    "null": _null,
}
