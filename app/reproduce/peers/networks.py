"""The networks that analyses are timed on, written for ours and the peers alike.

networks.py FOLDER FIXTURES writes into FOLDER
  patterns.npz      64 units, h' = (1 - leak) h + leak tanh(W h + b), random with three stored patterns; 1,024 starts
  chaos.npz         64 units, the same form without bias, random with gain 4; the state it starts from
  starts_tanh.npz   1,024 states that the trained flip-flop of FIXTURES visits under random pulses, every second one moved
                    towards another, with noise of 0.2
  starts_gru.npz    the same of the gated one
"""
import sys
import numpy as np

UNITS, STARTS = 64, 1024


def patterns():
    """Several hyperbolic fixed points: attractors, saddles, one near the origin."""
    rng = np.random.default_rng(0)
    w = 0.5 * rng.standard_normal((UNITS, UNITS)) / UNITS**0.5
    stored = rng.choice([-1.0, 1.0], (UNITS, 3))
    w = w + (stored * (1.5 * (1 + 0.1 * np.arange(3)))) @ stored.T / UNITS
    b, leak = 0.1 * rng.standard_normal(UNITS), 0.2
    rng = np.random.default_rng(1)
    h = rng.uniform(-1, 1, (STARTS, UNITS))
    for _ in range(20):
        h = (1 - leak) * h + leak * np.tanh(h @ w.T + b)
    return dict(w=w, b=b, leak=np.array([leak]), starts=h + 0.1 * rng.standard_normal(h.shape))


def chaos():
    w = 4.0 * np.random.default_rng(0).standard_normal((UNITS, UNITS)) / UNITS**0.5
    return dict(w=w, leak=np.array([0.2]), start=0.1 * np.random.default_rng(1).standard_normal(UNITS))


def step_of(net):
    """torch's nn.RNN or nn.GRU, by the number of gates."""
    wi, wh, bi, bh = (net[k].astype(float) for k in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
    n = wh.shape[1]
    if wh.shape[0] == n:
        return lambda x, u: np.tanh(u @ wi.T + x @ wh.T + bi + bh)

    def step(x, u):
        i, h = u @ wi.T + bi, x @ wh.T + bh
        r, z = (1 / (1 + np.exp(-(i[:, k : k + n] + h[:, k : k + n]))) for k in (0, n))
        return (1 - z) * np.tanh(i[:, 2 * n :] + r * h[:, 2 * n :]) + z * x

    return step


def visited(net):
    step, rng = step_of(net), np.random.default_rng(2)
    trials, steps = 64, 64
    x = np.repeat(net["initial_state"].astype(float), trials, 0)
    states = []
    for _ in range(steps):
        u = rng.choice([-1.0, 0.0, 1.0], (trials, net["weight_ih_l0"].shape[1]), p=[0.25, 0.5, 0.25])
        x = step(x, u)
        states.append(x)
    states = np.concatenate(states)
    some, others = (states[rng.integers(0, len(states), STARTS)] for _ in range(2))
    towards = rng.uniform(0, 1, (STARTS, 1)) * (np.arange(STARTS)[:, None] % 2)
    return some + towards * (others - some) + 0.2 * rng.standard_normal((STARTS, x.shape[1]))


if __name__ == "__main__":
    folder, fixtures = sys.argv[1:]
    np.savez(f"{folder}/patterns.npz", **patterns())
    np.savez(f"{folder}/chaos.npz", **chaos())
    for cell in ("tanh", "gru"):
        starts = visited(np.load(f"{fixtures}/flip_flop_{cell}16.npz"))
        np.savez(f"{folder}/starts_{cell}.npz", starts=starts)
