"""One training step (forward, MSE on a linear readout at every step, backward, Adam) in PyTorch on CPU.
cells: rnn          nn.RNN(tanh)                    gru  nn.GRU     lstm  nn.LSTM
       leaky        python loop, input projection hoisted out of the loop
       leaky_naive  python loop, two nn.Linear calls per step (the common tutorial form)
       leaky_compile  torch.compile of the hoisted loop (needs a C++ compiler)
       leaky_script   torch.jit.script of the hoisted loop
       leaky_bmm    --ens E networks at once through torch.baddbmm in a python loop
"""
from common import *
p = base_parser()
p.add_argument("--cell", default="leaky"); p.add_argument("--hidden", default="64", help="one value or a comma list; one JSON line per combination")
p.add_argument("--batch", default="64"); p.add_argument("--T", default="100")
p.add_argument("--n-in", type=int, default=3); p.add_argument("--n-out", type=int, default=3)
p.add_argument("--ens", type=int, default=1); p.add_argument("--fused-adam", action="store_true")
p.add_argument("--forward-only", action="store_true"); p.add_argument("--device", default="cpu", help="cpu, or cuda")
a = p.parse_args(); setup_threads(a.threads)
import itertools, torch, torch.nn as nn
torch.set_num_threads(a.threads); torch.manual_seed(0); torch.set_default_device(a.device); GPU = a.device != "cpu"
I, O, E, al = a.n_in, a.n_out, a.ens, 0.2

def leaky_scan(xp, h, Wt):                 # xp: T,B,N already W_in u + b
    ys = []
    for x in xp.unbind(0):
        h = (1 - 0.2) * h + 0.2 * torch.tanh(x + h @ Wt)
        ys.append(h)
    return torch.stack(ys)

def bench(cell, N, B, T):
    torch.manual_seed(0)
    class Leaky(nn.Module):
        def __init__(s):
            super().__init__(); s.inp = nn.Linear(I, N); s.rec = nn.Linear(N, N, bias=False)
            nn.init.normal_(s.rec.weight, 0, 1 / N**0.5); s.scan = leaky_scan
        def forward(s, u):
            return s.scan(s.inp(u), torch.zeros(u.shape[1], N), s.rec.weight.t())
    class LeakyNaive(Leaky):
        def forward(s, u):
            h = torch.zeros(u.shape[1], N); ys = []
            for t in range(u.shape[0]):
                h = (1 - al) * h + al * torch.tanh(s.inp(u[t]) + s.rec(h)); ys.append(h)
            return torch.stack(ys)
    class LeakyBmm(nn.Module):
        def __init__(s):
            super().__init__()
            s.Win = nn.Parameter(torch.randn(E, I, N) / I**0.5); s.b = nn.Parameter(torch.zeros(E, 1, N))
            s.W = nn.Parameter(torch.randn(E, N, N) / N**0.5)
        def forward(s, u):                      # u: T,E,B,I
            xp = torch.matmul(u, s.Win) + s.b; h = torch.zeros(E, B, N); ys = []
            for x in xp.unbind(0):
                h = (1 - al) * h + al * torch.tanh(torch.baddbmm(x, h, s.W)); ys.append(h)
            return torch.stack(ys)

    if cell == "rnn":
        core = nn.RNN(I, N, nonlinearity="tanh"); f = lambda u: core(u)[0]
    elif cell == "gru":
        core = nn.GRU(I, N); f = lambda u: core(u)[0]
    elif cell == "lstm":
        core = nn.LSTM(I, N); f = lambda u: core(u)[0]
    elif cell == "leaky_naive":
        core = LeakyNaive(); f = core
    elif cell == "leaky_bmm":
        core = LeakyBmm(); f = core
    elif cell.startswith("leaky"):
        core = Leaky(); f = core
        if cell == "leaky_compile": core.scan = torch.compile(leaky_scan)
        if cell == "leaky_script": core.scan = torch.jit.script(leaky_scan)
    else: raise SystemExit("unknown cell")
    if cell == "leaky_bmm":
        Wo = nn.Parameter(torch.randn(E, N, O) / N**0.5); rd = lambda y: torch.matmul(y, Wo); params = list(core.parameters()) + [Wo]
        u, tgt = torch.randn(T, E, B, I), torch.randn(T, E, B, O)
    else:
        ro = nn.Linear(N, O); rd = ro; params = list(core.parameters()) + list(ro.parameters())
        u, tgt = torch.randn(T, B, I), torch.randn(T, B, O)
    opt = torch.optim.Adam(params, lr=1e-4, fused=a.fused_adam or None)

    def step():
        opt.zero_grad(set_to_none=True)
        loss = ((rd(f(u)) - tgt) ** 2).mean(); loss.backward(); opt.step()
        if GPU: torch.cuda.synchronize()
    def fwd():
        with torch.no_grad(): ((rd(f(u)) - tgt) ** 2).mean()
        if GPU: torch.cuda.synchronize()
    t0 = time.perf_counter(); (fwd if a.forward_only else step)(); first = time.perf_counter() - t0
    r = timeit(fwd if a.forward_only else step, a.repeat, a.min_block_s, a.max_inner, gpu=GPU)
    base = cell if cell in ("gru", "lstm", "rnn") else "leaky"
    fl = train_flops(base, N, B, T, I, O, E) / (3 if a.forward_only else 1)
    emit({"bench": "train_step", "lib": "torch", "version": torch.__version__, "cell": cell, "hidden": N, "batch": B, "T": T, "ens": E,
          "threads": a.threads, "device": a.device, "forward_only": a.forward_only, **r, "first_call_s": first, "train_steps_per_s": E / r["min_s"],
          "us_per_timestep": r["min_s"] / T * 1e6, "GFLOPs": fl / r["min_s"] / 1e9, "gflop_per_step": fl / 1e9})

for cell, N, B, T in itertools.product(a.cell.split(","), map(int, a.hidden.split(",")), map(int, a.batch.split(",")), map(int, a.T.split(","))):
    try: bench(cell, N, B, T)
    except Exception as e: emit({"bench": "train_step", "lib": "torch", "cell": cell, "hidden": N, "batch": B, "T": T, "threads": a.threads, "error": repr(e)[:300]})
