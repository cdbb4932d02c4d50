"""Does the published recipe of the electrocardiogram learn without forcing? Its loss over training, in JAX, every 500 updates.

Clipped shallow PLRNN of 5 latent and 250 hidden units, affine observation, batch 16, RAdam from 1e-3 to 1e-6 in 250,000 updates,
penalties 1e-5 and 1e-6 (Hess et al. 2023); z1 = pinv(B) x1, and before every later step z becomes (1 - alpha) z + alpha pinv(B) x.
python unforced.py ecg_train.npy --window 221 --alpha 0 --updates 10000
"""
import argparse
import jax, jax.numpy as jnp, numpy as np, optax
p = argparse.ArgumentParser()
p.add_argument("data"); p.add_argument("--window", type=int, default=221); p.add_argument("--alpha", type=float, default=0.0)
p.add_argument("--updates", type=int, default=10000); p.add_argument("--seed", type=int, default=1)
a = p.parse_args()
X = np.load(a.data).astype(np.float32)
T, M, L, N, S = a.window, 5, 250, X.shape[1], 16
r = np.random.default_rng(a.seed)
R = r.normal(size=(M, M)); K = R.T @ R / M + np.eye(M)
P0 = dict(A=np.diag(K / np.linalg.eigvalsh(K).max()), W1=r.uniform(-1, 1, (M, L)) / L**.5, W2=r.uniform(-1, 1, (L, M)) / M**.5,
          h1=np.zeros(M), h2=r.uniform(-1, 1, L) / L**.5, B=r.normal(size=(N, M)) * (2 / M)**.5)
P = {k: jnp.asarray(v, jnp.float32) for k, v in P0.items()}

def loss(p, x):
    """The mean squared error of x [batch, time, dim], with the penalties and without."""
    inverse = jnp.linalg.pinv(p["B"])
    implied = jax.lax.stop_gradient(x @ inverse.T)
    def step(z, now):
        t, implied, target = now
        z = jnp.where(t > 0, (1 - a.alpha) * z + a.alpha * implied, z)
        g = z @ p["W2"].T
        z = p["A"] * z + (jax.nn.relu(g + p["h2"]) - jax.nn.relu(g)) @ p["W1"].T + p["h1"]
        return z, jnp.mean((z @ p["B"].T - target)**2)
    implied, x_by_time = implied.swapaxes(0, 1), x.swapaxes(0, 1)
    errors = jax.lax.scan(step, x[:, 0] @ inverse.T, (jnp.arange(T), implied[:-1], x_by_time[1:]))[1]
    s = jnp.linalg.svd(p["B"], compute_uv=False)
    latent = jnp.sum((1 - p["A"])**2) + sum(jnp.sum(p[k]**2) for k in ("W1", "W2", "h1", "h2"))
    return errors.mean() + 1e-5 * latent + 1e-6 * (1 - s[0] / (s[-1] + 1e-8))**2, errors.mean()

optimiser = optax.radam(optax.exponential_decay(1e-3, 250_000, 1e-3))

@jax.jit
def update(p, state, x):
    (_, error), gradient = jax.value_and_grad(loss, has_aux=True)(p, x)
    change, state = optimiser.update(gradient, state, p)
    return optax.apply_updates(p, change), state, error, optax.global_norm(gradient)

state, of_block = optimiser.init(P), []
for k in range(1, a.updates + 1):
    x = np.stack([X[i:i + T + 1] for i in r.integers(0, len(X) - T - 1, S)])
    P, state, error, norm = update(P, state, x)
    of_block.append((error, norm))
    if k % 500 == 0:
        error, norm = np.array(of_block).T
        print(f"{k} loss {error.mean():.3g}, norm of the gradient median {np.median(norm):.3g} largest {norm.max():.3g}", flush=True)
        of_block = []
