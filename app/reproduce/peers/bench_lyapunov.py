"""All Lyapunov exponents of a leaky network without bias (--network FILE.npz: w, leak, start), orthonormalised by QR every
--every steps."""
from common import *

p = base_parser()
p.add_argument("--lib", default="numpy", choices=["numpy", "jax"])
p.add_argument("--network", required=True)
p.add_argument("--steps", type=int, default=10000)
p.add_argument("--every", type=int, default=1)
a = p.parse_args()
setup_threads(a.threads)
os.environ["JAX_PLATFORMS"] = "cpu"
import numpy as np

net = np.load(a.network)
w, leak, start = net["w"], float(net["leak"][0]), net["start"]
found = {}
if a.lib == "numpy":
    version = np.__version__

    def measure():
        h, q, sums = start.copy(), np.eye(len(w)), np.zeros(len(w))
        for i in range(a.steps):
            t = np.tanh(w @ h)
            q = (1 - leak) * q + (leak * (1 - t * t))[:, None] * (w @ q)
            h = (1 - leak) * h + leak * t
            if (i + 1) % a.every == 0:
                q, r = np.linalg.qr(q)
                sums += np.log(np.abs(np.diag(r)))
        found["exponents"] = sums / a.steps

else:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    version, weights = jax.__version__, jnp.asarray(w)

    def one(carry, _):
        h, q = carry
        t = jnp.tanh(weights @ h)
        return ((1 - leak) * h + leak * t, (1 - leak) * q + (leak * (1 - t * t))[:, None] * (weights @ q)), None

    def block(carry, _):
        h, q, sums = carry
        (h, q), _ = jax.lax.scan(one, (h, q), None, length=a.every)
        q, r = jnp.linalg.qr(q)
        return (h, q, sums + jnp.log(jnp.abs(jnp.diagonal(r)))), None

    @jax.jit
    def run(h):
        carry = (h, jnp.eye(len(w)), jnp.zeros(len(w)))
        return jax.lax.scan(block, carry, None, length=a.steps // a.every)[0][2] / a.steps

    def measure():
        found["exponents"] = np.asarray(jax.block_until_ready(run(jnp.asarray(start))))


times = timeit(measure, a.repeat, 0.1, a.max_inner, warmup=1)
exponents = np.sort(found["exponents"])[::-1]
emit({"bench": "lyapunov", "lib": a.lib, "version": version, "units": len(w), "steps": a.steps, "every": a.every, "threads": a.threads, **times,
      "largest": float(exponents[0]), "sum": float(exponents.sum())})
