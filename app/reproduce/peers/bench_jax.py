"""One training step (forward, MSE, backward, Adam via optax) with jax.lax.scan under jit; --ens E vmaps E networks."""
from common import *
p = base_parser()
p.add_argument("--cell", default="leaky", help="leaky, rnn, gru, lstm; comma lists allowed here and below"); p.add_argument("--hidden", default="64")
p.add_argument("--batch", default="64"); p.add_argument("--T", default="100")
p.add_argument("--n-in", type=int, default=3); p.add_argument("--n-out", type=int, default=3)
p.add_argument("--ens", type=int, default=1); p.add_argument("--unroll", type=int, default=1)
a = p.parse_args(); setup_threads(a.threads); os.environ["JAX_PLATFORMS"] = "cpu"
import itertools, jax, jax.numpy as jnp, optax
I, O, E, al = a.n_in, a.n_out, a.ens, 0.2
def bench(cell_name, N, B, T):
    G = {"gru": 3, "lstm": 4}.get(cell_name, 1)
    def init(key):
        k = jax.random.split(key, 3)
        return {"Win": jax.random.normal(k[0], (I, G * N)) / I**0.5, "W": jax.random.normal(k[1], (N, G * N)) / N**0.5,
                "b": jnp.zeros(G * N), "bn": jnp.zeros(N), "Wo": jax.random.normal(k[2], (N, O)) / N**0.5}
    def cell(p, h, x):
        if cell_name == "leaky": return (1 - al) * h + al * jnp.tanh(x + h @ p["W"])
        if cell_name == "rnn": return jnp.tanh(x + h @ p["W"])
        if cell_name == "lstm":
            i, f, g, o = jnp.split(x + h[0] @ p["W"], 4, -1)
            c = jax.nn.sigmoid(f) * h[1] + jax.nn.sigmoid(i) * jnp.tanh(g); return jax.nn.sigmoid(o) * jnp.tanh(c), c
        hr, hz, hn = jnp.split(h @ p["W"], 3, -1); xr, xz, xn = jnp.split(x, 3, -1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        n = jnp.tanh(xn + r * (hn + p["bn"])); return (1 - z) * n + z * h
    def loss(p, u, tgt):
        xp = u @ p["Win"] + p["b"]
        def body(h, x): h = cell(p, h, x); return h, h[0] if cell_name == "lstm" else h
        zero = jnp.zeros((u.shape[1], N)); h0 = (zero, zero) if cell_name == "lstm" else zero
        _, ys = jax.lax.scan(body, h0, xp, unroll=a.unroll)
        return jnp.mean((ys @ p["Wo"] - tgt) ** 2)
    opt = optax.adam(1e-4)
    def step(p, s, u, t):
        g = jax.grad(loss)(p, u, t); upd, s = opt.update(g, s); return optax.apply_updates(p, upd), s
    key = jax.random.PRNGKey(0)
    if E > 1:
        P = jax.vmap(init)(jax.random.split(key, E)); S = jax.vmap(opt.init)(P)
        u = jax.random.normal(key, (E, T, B, I)); t = jax.random.normal(key, (E, T, B, O)); fn = jax.vmap(step)
    else:
        P = init(key); S = opt.init(P); u = jax.random.normal(key, (T, B, I)); t = jax.random.normal(key, (T, B, O)); fn = step
    fn = jax.jit(fn, donate_argnums=(0, 1)); st = [P, S]
    def run():
        st[0], st[1] = fn(st[0], st[1], u, t); jax.block_until_ready(st)
    t0 = time.perf_counter(); run(); first = time.perf_counter() - t0
    r = timeit(run, a.repeat, a.min_block_s, a.max_inner)
    fl = train_flops(cell_name, N, B, T, I, O, E)
    emit({"bench": "train_step", "lib": "jax", "version": jax.__version__, "cell": cell_name, "hidden": N, "batch": B, "T": T, "ens": E,
          "unroll": a.unroll, "threads": a.threads, **r, "first_call_s": first, "train_steps_per_s": E / r["min_s"],
          "us_per_timestep": r["min_s"] / T * 1e6, "GFLOPs": fl / r["min_s"] / 1e9, "gflop_per_step": fl / 1e9})

for c, N, B, T in itertools.product(a.cell.split(","), map(int, a.hidden.split(",")), map(int, a.batch.split(",")), map(int, a.T.split(","))):
    bench(c, N, B, T)
