"""The nano world: scenes, their physics, their captions, and the combinations kept out of training.

`scene` says what a world holds, `families` draws scenes, `physics` moves them, `captions` puts them into words,
`split` names what training never sees, `camera` moves the eye, and `render` makes the pictures.
"""
