"""The streams of a tube as asyncio has them: transports, readers and writers, and TCP joined to them."""
