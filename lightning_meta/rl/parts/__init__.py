"""Parts that agents are made of: networks, objectives, advantages, replay."""
