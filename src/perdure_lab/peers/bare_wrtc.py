"""The engine by itself, with nobody who decides anything: one peer connection of `wrtc`, and TCP copied through it.

    python -m perdure_lab.peers.bare_wrtc gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.bare_wrtc client FOLDER PORT

Descriptions and candidates are exchanged for the set-up. Candidates that the engine finds later are carried over too,
as every application with trickle ICE does; ICE is never restarted, and no connection replaced.
"""

from __future__ import annotations

import asyncio
from functools import partial

import webrtc

from perdure_lab.peers import exchange, words
from perdure_lab.peers.copying import LABEL, Copy, Dialer
from perdure_lab.peers.exchange import Exchange, Message
from perdure_lab.peers.words import Words


def main() -> None:
    given = words.parsed(__doc__)
    asyncio.run(exchange.serve(given.folder, partial(_gateway, given)) if given.is_gateway else _client(given))


async def _gateway(given: Words, exchange: Exchange) -> None:
    connection = _connection(given, exchange)
    dialer = Dialer(given.host, given.port)
    connection.on("datachannel", lambda event: dialer.channel(event.channel))
    try:
        async for message in exchange.messages():
            if message["kind"] == "offer":
                await _apply(connection, message)
                answer = await connection.create_answer()
                exchange.send(kind="answer", sdp=answer.sdp)
                await connection.set_local_description(answer)
            else:
                await _apply(connection, message)
    finally:
        connection.close()


async def _client(given: Words) -> None:
    joined = await exchange.join(given.folder)
    connection = _connection(given, joined)
    connection.create_data_channel("first")  # without one, the offer would have none
    offer = await connection.create_offer()
    joined.send(kind="offer", sdp=offer.sdp)  # before there are candidates
    await connection.set_local_description(offer)
    carrying = asyncio.create_task(_carry(connection, joined))
    server = await asyncio.get_running_loop().create_server(
        lambda: Copy(connection.create_data_channel(LABEL)), given.host, given.port
    )
    await asyncio.gather(carrying, server.serve_forever())


async def _carry(connection: webrtc.RTCPeerConnection, joined: Exchange) -> None:
    async for message in joined.messages():
        await _apply(connection, message)


async def _apply(connection: webrtc.RTCPeerConnection, message: Message) -> None:
    if message["kind"] == "candidate":
        await connection.add_ice_candidate(
            webrtc.RTCIceCandidateInit(
                candidate=message["candidate"], sdp_mid=message["mid"], sdp_m_line_index=int(message["line"])
            )
        )
    else:
        kind = webrtc.RTCSdpType(message["kind"])
        await connection.set_remote_description(webrtc.RTCSessionDescriptionInit(type=kind, sdp=message["sdp"]))


def _connection(given: Words, exchange: Exchange) -> webrtc.RTCPeerConnection:
    servers = []
    if given.stun:
        servers.append(webrtc.RTCIceServer(urls=[given.stun]))
    if given.turn:
        servers.append(webrtc.RTCIceServer(urls=[given.turn], username=given.turn_user, credential=given.turn_password))
    connection = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=servers))

    def on_candidate(event: webrtc.RTCPeerConnectionIceEvent) -> None:
        if (found := event.candidate) is not None and found.candidate:
            exchange.send(
                kind="candidate",
                candidate=found.candidate,
                mid=found.sdp_mid or "0",
                line=str(found.sdp_m_line_index or 0),
            )

    connection.on("icecandidate", on_candidate)
    return connection


if __name__ == "__main__":
    main()
