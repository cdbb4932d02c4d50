"""Fixed points of a network from many starts.

--lib torch   Adam on the mean of q = 1/2 |F(x) - x|^2 over all starts, the loop of FixedPointFinder for torch: learning rate 1
              lowered on plateaus (factor 0.95, patience 2), until every q is below 1e-12 or --iterations are made
--lib jax     batched Newton, vmap(jacfwd) and jnp.linalg.solve, at most 50 iterations in a jitted while_loop
--lib numpy   the same with the Jacobian by hand (leaky networks only)

--network FILE.npz is a leaky one (w, b, leak, starts), or torch's nn.RNN or nn.GRU with --starts FILE.npz.
Distinct points are those that differ by 1e-3 in the 2-norm, among those with q below 1e-12 and, as FixedPointFinder counts
them, whatever their q.
"""
from common import *

p = base_parser()
p.add_argument("--lib", default="torch", choices=["torch", "jax", "numpy"])
p.add_argument("--network", required=True)
p.add_argument("--starts", default="")
p.add_argument("--iterations", type=int, default=5000)
p.add_argument("--dtype", default="float32")
a = p.parse_args()
setup_threads(a.threads)
os.environ["JAX_PLATFORMS"] = "cpu"
import numpy as np
from networks import step_of

net = dict(np.load(a.network))
x0 = np.load(a.starts)["starts"] if a.starts else net["starts"]
found = {}
TOLERANCE = 1e-12


def distinct(x):
    kept = np.empty((0, x.shape[1]))
    for v in x:
        if len(kept) == 0 or np.linalg.norm(kept - v, axis=1).min() > 1e-3:
            kept = np.vstack([kept, v])
    return len(kept)


if a.lib == "torch":
    import torch

    torch.set_num_threads(a.threads)
    version, dtype = torch.__version__, getattr(torch, a.dtype)
    if "w" in net:
        w, b, leak = torch.tensor(net["w"].T.copy(), dtype=dtype), torch.tensor(net["b"], dtype=dtype), float(net["leak"][0])
        step = lambda x: (1 - leak) * x + leak * torch.tanh(x @ w + b)
    else:
        n = net["weight_hh_l0"].shape[1]
        gated = net["weight_hh_l0"].shape[0] == 3 * n
        module = (torch.nn.GRUCell if gated else torch.nn.RNNCell)(net["weight_ih_l0"].shape[1], n).to(dtype)
        with torch.no_grad():
            for name, key in [("weight_ih",) * 2, ("weight_hh",) * 2, ("bias_ih",) * 2, ("bias_hh",) * 2]:
                getattr(module, name).copy_(torch.tensor(net[key + "_l0"], dtype=dtype))
                getattr(module, name).requires_grad_(False)
        rest = torch.zeros(len(x0), net["weight_ih_l0"].shape[1], dtype=dtype)
        step = lambda x: module(rest, x)
    start = torch.tensor(x0, dtype=dtype)

    def search():
        x = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([x], lr=1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, mode="min", factor=0.95, patience=2)
        for iteration in range(a.iterations):
            adam.zero_grad(set_to_none=True)
            q = 0.5 * ((step(x) - x) ** 2).sum(1)
            q.mean().backward()
            adam.step()
            plateau.step(float(q.detach().mean()))
            if bool((q.detach() < TOLERANCE).all()):
                break
        found.update(iterations=iteration + 1, x=x.detach().numpy(), q=q.detach().numpy())

elif a.lib == "jax":
    import jax

    jax.config.update("jax_enable_x64", a.dtype == "float64")
    import jax.numpy as jnp

    version = jax.__version__
    w, b, leak, start = jnp.asarray(net["w"], a.dtype), jnp.asarray(net["b"], a.dtype), float(net["leak"][0]), jnp.asarray(x0, a.dtype)
    difference = lambda h: leak * (jnp.tanh(w @ h + b) - h)
    newton = lambda x: x - jnp.linalg.solve(jax.jacfwd(difference)(x), difference(x))

    @jax.jit
    def solve(x):
        speeds = lambda x: 0.5 * jnp.sum(jax.vmap(difference)(x) ** 2, 1)

        def body(c):
            x = jax.vmap(newton)(c[0])
            return x, c[1] + 1, speeds(x)

        return jax.lax.while_loop(lambda c: (c[1] < 50) & jnp.any(c[2] > TOLERANCE), body, (x, 0, speeds(x)))

    def search():
        x, iterations, q = jax.block_until_ready(solve(start))
        found.update(iterations=int(iterations), x=np.asarray(x), q=np.asarray(q))

else:
    version = np.__version__
    w, b, leak, start = net["w"].astype(a.dtype), net["b"].astype(a.dtype), float(net["leak"][0]), x0.astype(a.dtype)
    one = np.eye(len(w), dtype=a.dtype)

    def search():
        x = start.copy()
        for iteration in range(50):
            t = np.tanh(x @ w.T + b)
            x = x - np.linalg.solve((1 - t * t)[:, :, None] * w[None] - one, (t - x)[:, :, None])[:, :, 0]
            q = 0.5 * leak**2 * ((np.tanh(x @ w.T + b) - x) ** 2).sum(1)
            if (q < TOLERANCE).all():
                break
        found.update(iterations=iteration + 1, x=x, q=q)


search()
times = timeit(search, a.repeat, a.min_block_s, a.max_inner, warmup=0)
x, q = found.pop("x"), found.pop("q")
finite = np.isfinite(q) & np.isfinite(x).all(1)
emit({"bench": "fixed_points", "lib": a.lib, "version": version, "starts": len(x), "dtype": a.dtype, "threads": a.threads, **times, **found,
      "converged": float((q[finite] < TOLERANCE).sum() / len(q)), "points": distinct(x[finite & (q < TOLERANCE)]),
      "distinct": distinct(x[finite])})
