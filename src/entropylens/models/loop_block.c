/* One block of a looped transformer, F(Y): a head, then an MLP, with or without layer norm; forward and backward.
 *
 * Compiled once per number type (REAL, EXP) by native.py and called through ctypes. Arrays are dense, row-major:
 *   y, dy, f, df   (M, B, n, D)   states of M models, B sequences each
 *   theta, dtheta  (M, P)         a model's parameters, in the order of `layout` below
 * Nothing is kept between forward and backward: a sequence fits into the cache, and computing everything once more is
 * cheaper than writing it down T times. Attention matrices are never stored. Keys and values are kept transposed, too,
 * (D, n padded to LANES), so that loops over a row of the attention matrix run along memory: with D of 8 or so there is
 * little to be gained along D.
 * Every sum runs in a fixed order: the same input gives the same bits.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

typedef struct { int64_t models, batch, tokens, neurons, causal, norm; } shape_t;
enum { NORM_NONE, NORM_PRE, NORM_POST };
#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define EPS ((REAL)1e-5) /* of torch's layer norm */

/* Where a block's parameters are. Those that it does not have are 0 long. */
typedef struct { int64_t qkv, keys, keys_bias, values, values_bias, norm_in, norm_mid, norm_out, end; } layout_t;

INLINE layout_t layout(const shape_t *s, int64_t D) {
    const int64_t f = s->neurons;
    layout_t at = {0};
    at.keys = 3 * D * D;
    at.keys_bias = at.keys + D * f;
    at.values = at.keys_bias + f;
    at.values_bias = at.values + f * D;
    at.norm_in = at.values_bias + (f ? D : 0);
    at.norm_mid = at.norm_in + (s->norm == NORM_PRE ? 2 * D : 0);
    at.norm_out = at.norm_mid + (s->norm == NORM_PRE && f ? 2 * D : 0);
    at.end = at.norm_out + (s->norm == NORM_POST ? 2 * D : 0);
    return at;
}

/* e^x for x <= 0 to 1 ulp or so, in a form that vectorises: 2^k times a degree 6 polynomial (Cephes' expf). NaN stays.
 * Below -60 it is 0: too small to be seen in a sum that has a 1 in it. */
INLINE float exp_float(float y) {
    const float x = y < -60 ? -60 : y;
    const float k = __builtin_rintf(x * 1.44269504f), r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    union { int32_t bits; float value; } two_to_k = {.bits = ((int32_t)k + 127) << 23};
    return y < -60 ? 0 : (p * r * r + r + 1) * two_to_k.value;
}

/* to (b) += a (a_1 ... a_m) times rows (m, b). */
INLINE void product(const REAL *restrict a, const REAL *restrict rows, int64_t m, int64_t b, REAL *restrict to) {
    for (int64_t i = 0; i < m; i++)
#pragma omp simd
        for (int64_t j = 0; j < b; j++) to[j] += a[i] * rows[i * b + j];
}

/* Outer product: to (m, b) += a (m) b (b). */
INLINE void outer(const REAL *restrict x, const REAL *restrict y, int64_t m, int64_t b, REAL *restrict to) {
    for (int64_t i = 0; i < m; i++)
#pragma omp simd
        for (int64_t j = 0; j < b; j++) to[i * b + j] += x[i] * y[j];
}

INLINE void transpose(const REAL *from, int64_t rows, int64_t columns, int64_t step, int64_t width, REAL *restrict to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * width + i] = from[i * step + j];
}

/* to (D) = gain * hat + bias, hat the normalised x; returns 1 / its standard deviation. */
INLINE REAL normalise(const REAL *restrict x, const REAL *gain_bias, int64_t D, REAL *restrict hat, REAL *restrict to) {
    REAL mean = 0, spread = 0;
    for (int64_t c = 0; c < D; c++) mean += x[c];
    mean /= D;
    for (int64_t c = 0; c < D; c++) spread += (x[c] - mean) * (x[c] - mean);
    const REAL inverse = 1 / (REAL)sqrt((double)(spread / D + EPS));
    for (int64_t c = 0; c < D; c++) {
        hat[c] = (x[c] - mean) * inverse;
        to[c] = hat[c] * gain_bias[c] + gain_bias[D + c];
    }
    return inverse;
}

/* Gradient through `normalise`: from that of its result (in place) to that of x; adds those of gain and bias. */
INLINE void normalise_backward(REAL *restrict g, const REAL *restrict hat, REAL inverse, const REAL *gain_bias, int64_t D,
                               REAL *restrict to_gain_bias) {
    REAL mean = 0, along = 0;
    for (int64_t c = 0; c < D; c++) {
        to_gain_bias[c] += g[c] * hat[c];
        to_gain_bias[D + c] += g[c];
        g[c] *= gain_bias[c];
        mean += g[c];
        along += g[c] * hat[c];
    }
    for (int64_t c = 0; c < D; c++) g[c] = inverse * (g[c] - mean / D - hat[c] * along / D);
}

/* ---- attention of one sequence ----------------------------------------------------------------------------------- */

/* to_j = sum_c a_c rows_cj for j < end, a multiple of LANES. */
INLINE void combine(const REAL *a, const REAL *restrict rows, int64_t end, int64_t padded, int64_t D, REAL *restrict to) {
    for (int64_t j = 0; j < end; j += LANES) {
        REAL sum[LANES] = {0};
        for (int64_t c = 0; c < D; c++)
#pragma omp simd
            for (int64_t l = 0; l < LANES; l++) sum[l] += a[c] * rows[c * padded + j + l];
        memcpy(to + j, sum, sizeof sum);
    }
}

/* to (D) = sum_j w_j rows_j, rows `step` apart; four sums at a time, so that none waits for the last one. */
INLINE void gather(const REAL *restrict w, const REAL *restrict rows, int64_t count, int64_t step, int64_t D,
                   REAL *restrict to) {
    REAL sum[4][D];
    memset(sum, 0, sizeof sum);
    int64_t j = 0;
    for (; j + 4 <= count; j += 4)
        for (int64_t k = 0; k < 4; k++)
#pragma omp simd
            for (int64_t c = 0; c < D; c++) sum[k][c] += w[j + k] * rows[(j + k) * step + c];
    for (; j < count; j++)
        for (int64_t c = 0; c < D; c++) sum[0][c] += w[j] * rows[j * step + c];
    for (int64_t c = 0; c < D; c++) to[c] = (sum[0][c] + sum[1][c]) + (sum[2][c] + sum[3][c]);
}

/* Row i: q, scaled, and the weights w before their division by the sum that is returned; w is 0 beyond what is seen. */
INLINE REAL weigh(const REAL *restrict q, const REAL *restrict k, int64_t seen, int64_t end, int64_t padded, int64_t D,
                  REAL *restrict w) {
    REAL top = -INFINITY, total = 0;
    combine(q, k, end, padded, D, w);
    for (int64_t j = seen; j < end; j++) w[j] = -INFINITY;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < end; j++) top = w[j] > top ? w[j] : top;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < end; j++) {
        w[j] = EXP(w[j] - top);
        total += w[j];
    }
    return total;
}

INLINE int64_t pad(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

INLINE void attend(const shape_t *s, const REAL *restrict qkv, REAL *restrict k, REAL *restrict w, REAL *restrict u,
                   int64_t D) {
    const int64_t n = s->tokens, padded = pad(n);
    const REAL scale = 1 / (REAL)sqrt((double)D);
    memset(k, 0, sizeof(REAL) * D * padded);
    transpose(qkv + D, n, D, 3 * D, padded, k);
    for (int64_t i = 0; i < n; i++) {
        const int64_t seen = s->causal ? i + 1 : n;
        REAL q[D];
        for (int64_t c = 0; c < D; c++) q[c] = scale * qkv[i * 3 * D + c];
        const REAL total = weigh(q, k, seen, pad(seen), padded, D, w);
        gather(w, qkv + 2 * D, seen, 3 * D, D, u + i * D);
        for (int64_t c = 0; c < D; c++) u[i * D + c] /= total;
    }
}

/* With p the weights: dv_j += p_ij du_i; ds_ij = p_ij (du_i . v_j - du_i . u_i); dq_i = ds_i k; dk_j += ds_ij q_i. */
INLINE void attend_backward(const shape_t *s, const REAL *restrict qkv, const REAL *restrict u, const REAL *restrict du,
                            REAL *restrict k, REAL *restrict work, REAL *restrict dqkv, int64_t D) {
    const int64_t n = s->tokens, padded = pad(n);
    const REAL scale = 1 / (REAL)sqrt((double)D);
    REAL *v = work, *dk = v + D * padded, *dv = dk + D * padded, *p = dv + D * padded, *ds = p + padded;
    memset(v, 0, sizeof(REAL) * 3 * D * padded);
    transpose(qkv + 2 * D, n, D, 3 * D, padded, v);
    for (int64_t i = 0; i < n; i++) {
        const int64_t seen = s->causal ? i + 1 : n, end = pad(seen);
        const REAL *g = du + i * D;
        REAL q[D], mean = 0;
        for (int64_t c = 0; c < D; c++) {
            q[c] = scale * qkv[i * 3 * D + c];
            mean += g[c] * u[i * D + c];
        }
        const REAL inverse = 1 / weigh(q, k, seen, end, padded, D, p);
        combine(g, v, end, padded, D, ds);
#pragma omp simd
        for (int64_t j = 0; j < end; j++) {
            p[j] *= inverse;
            ds[j] = p[j] * (ds[j] - mean);
        }
        gather(ds, qkv + D, seen, 3 * D, D, dqkv + i * 3 * D);
        for (int64_t c = 0; c < D; c++) dqkv[i * 3 * D + c] *= scale;
        for (int64_t c = 0; c < D; c++) {
            REAL *restrict to_k = dk + c * padded, *restrict to_v = dv + c * padded;
#pragma omp simd
            for (int64_t j = 0; j < end; j++) {
                to_k[j] += ds[j] * q[c];
                to_v[j] += p[j] * g[c];
            }
        }
    }
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < D; c++) {
            dqkv[(j * 3 + 1) * D + c] = dk[c * padded + j];
            dqkv[(j * 3 + 2) * D + c] = dv[c * padded + j];
        }
}

/* ---- a block on one sequence ------------------------------------------------------------------------------------- */

/* Up to the head's output: a (what the head sees), qkv and u; where there is a norm before it, hat and inverse, too. */
INLINE void head(const shape_t *s, const layout_t *at, const REAL *theta, const REAL *y, REAL *restrict a, REAL *restrict hat,
                 REAL *restrict inverse, REAL *restrict qkv, REAL *restrict k, REAL *restrict w, REAL *restrict u, int64_t D) {
    const int64_t n = s->tokens;
    if (s->norm == NORM_PRE)
        for (int64_t i = 0; i < n; i++)
            inverse[i] = normalise(y + i * D, theta + at->norm_in, D, hat + i * D, a + i * D);
    else
        memcpy(a, y, sizeof(REAL) * n * D);
    memset(qkv, 0, sizeof(REAL) * n * 3 * D);
    for (int64_t i = 0; i < n; i++) product(a + i * D, theta + at->qkv, D, 3 * D, qkv + i * 3 * D);
    attend(s, qkv, k, w, u, D);
}

/* One token after the head: u to out = u + MLP(u or its norm); mid is what the MLP sees, h its neurons. */
INLINE REAL mlp(const shape_t *s, const layout_t *at, const REAL *theta, const REAL *restrict u, REAL *restrict hat,
                REAL *restrict mid, REAL *restrict h, REAL *restrict out, int64_t D) {
    REAL inverse = 0;
    memcpy(out, u, sizeof(REAL) * D);
    if (!s->neurons) return inverse;
    if (s->norm == NORM_PRE)
        inverse = normalise(u, theta + at->norm_mid, D, hat, mid);
    else
        memcpy(mid, u, sizeof(REAL) * D);
    memcpy(h, theta + at->keys_bias, sizeof(REAL) * s->neurons);
    product(mid, theta + at->keys, D, s->neurons, h);
    for (int64_t j = 0; j < s->neurons; j++) h[j] = h[j] > 0 ? h[j] : (h[j] != h[j] ? h[j] : 0); /* NaN stays */
    for (int64_t c = 0; c < D; c++) out[c] += theta[at->values_bias + c];
    product(h, theta + at->values, s->neurons, D, out);
    return inverse;
}

INLINE void forward_sequence(const shape_t *s, const REAL *theta, const REAL *y, REAL *f, REAL *work, int64_t D) {
    const int64_t n = s->tokens, padded = pad(n);
    const layout_t at = layout(s, D);
    REAL *a = work, *hat = a + n * D, *inverse = hat + n * D, *qkv = inverse + n, *u = qkv + 3 * n * D, *k = u + n * D,
         *w = k + D * padded, *h = w + padded;
    head(s, &at, theta, y, a, hat, inverse, qkv, k, w, u, D);
    for (int64_t i = 0; i < n; i++) {
        REAL unused[D], mid[D], out[D];
        mlp(s, &at, theta, u + i * D, unused, mid, h, out, D);
        if (s->norm == NORM_POST)
            normalise(out, theta + at.norm_out, D, unused, f + i * D);
        else
            memcpy(f + i * D, out, sizeof out);
    }
}

/* `turned` holds the products' matrices transposed: values (D, neurons), keys (neurons, D), qkv (3 D, D). */
INLINE void backward_sequence(const shape_t *s, const REAL *theta, const REAL *turned, const REAL *y, const REAL *df,
                              REAL *dy, REAL *dtheta, REAL *work, int64_t D) {
    const int64_t n = s->tokens, padded = pad(n), f = s->neurons;
    const layout_t at = layout(s, D);
    REAL *a = work, *hat = a + n * D, *inverse = hat + n * D, *qkv = inverse + n, *u = qkv + 3 * n * D, *k = u + n * D,
         *w = k + D * padded, *h = w + padded, *dh = h + f, *du = dh + f, *dqkv = du + n * D, *rest = dqkv + 3 * n * D;
    head(s, &at, theta, y, a, hat, inverse, qkv, k, w, u, D);
    for (int64_t i = 0; i < n; i++) {
        REAL mid_hat[D], mid[D], out[D], out_hat[D], unused[D], g[D], dmid[D];
        const REAL mid_inverse = mlp(s, &at, theta, u + i * D, mid_hat, mid, h, out, D);
        memcpy(g, df + i * D, sizeof g);
        if (s->norm == NORM_POST) {
            const REAL out_inverse = normalise(out, theta + at.norm_out, D, out_hat, unused);
            normalise_backward(g, out_hat, out_inverse, theta + at.norm_out, D, dtheta + at.norm_out);
        }
        memcpy(du + i * D, g, sizeof g);
        if (!f) continue;
        outer(h, g, f, D, dtheta + at.values);
        for (int64_t c = 0; c < D; c++) dtheta[at.values_bias + c] += g[c];
        memset(dh, 0, sizeof(REAL) * f);
        product(g, turned, D, f, dh);
        for (int64_t j = 0; j < f; j++) {
            dh[j] = h[j] > 0 ? dh[j] : 0;
            dtheta[at.keys_bias + j] += dh[j];
        }
        outer(mid, dh, D, f, dtheta + at.keys);
        memset(dmid, 0, sizeof dmid);
        product(dh, turned + D * f, f, D, dmid);
        if (s->norm == NORM_PRE)
            normalise_backward(dmid, mid_hat, mid_inverse, theta + at.norm_mid, D, dtheta + at.norm_mid);
        for (int64_t c = 0; c < D; c++) du[i * D + c] += dmid[c];
    }
    attend_backward(s, qkv, u, du, k, rest, dqkv, D);
    for (int64_t i = 0; i < n; i++) {
        outer(a + i * D, dqkv + i * 3 * D, D, 3 * D, dtheta + at.qkv);
        REAL da[D];
        memset(da, 0, sizeof da);
        product(dqkv + i * 3 * D, turned + 2 * D * f, 3 * D, D, da);
        if (s->norm == NORM_PRE)
            normalise_backward(da, hat + i * D, inverse[i], theta + at.norm_in, D, dtheta + at.norm_in);
        memcpy(dy + i * D, da, sizeof da);
    }
}

/* ---- all sequences of all models --------------------------------------------------------------------------------- */

#define FOR_EACH_WIDTH(CALL)                                                                                             \
    switch (D) {                                                                                                         \
    case 4: CALL(4); break;                                                                                              \
    case 8: CALL(8); break;                                                                                              \
    case 16: CALL(16); break;                                                                                            \
    case 32: CALL(32); break;                                                                                            \
    case 64: CALL(64); break;                                                                                            \
    default: CALL(D);                                                                                                    \
    }

/* Gradients that fade over many loops become subnormal, and then every product with them takes a hundred times as long.
 * On x86 they are taken for 0 meanwhile; returns what has to be put back. */
INLINE unsigned flush_subnormals(void) {
#ifdef __SSE2__
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, and denormals are zeros */
    return before;
#else
    return 0;
#endif
}

INLINE void restore(unsigned before) {
#ifdef __SSE2__
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* The parameters of a block, as Python has to lay them out. */
int64_t parameters(const shape_t *s, int64_t D) { return layout(s, D).end; }

/* Both return 0, or 1 where there is no memory to work in. */
int forward(const shape_t *s, int64_t D, const REAL *theta, const REAL *y, REAL *f) {
    const int64_t n = s->tokens, size = n * D, count = layout(s, D).end;
    REAL *work = malloc(sizeof(REAL) * (6 * size + n + (D + 1) * pad(n) + s->neurons));
    if (!work) return 1;
    const unsigned before = flush_subnormals();
    for (int64_t m = 0; m < s->models; m++)
        for (int64_t b = m * s->batch; b < (m + 1) * s->batch; b++) {
#define CALL(D_) forward_sequence(s, theta + m * count, y + b * size, f + b * size, work, D_)
            FOR_EACH_WIDTH(CALL)
#undef CALL
        }
    restore(before);
    free(work);
    return 0;
}

int backward(const shape_t *s, int64_t D, const REAL *theta, const REAL *y, const REAL *df, REAL *dy, REAL *dtheta) {
    const int64_t n = s->tokens, size = n * D, f = s->neurons, matrices = 2 * D * f + 3 * D * D;
    const layout_t at = layout(s, D);
    REAL *work = malloc(sizeof(REAL) * (10 * size + n + (4 * D + 3) * pad(n) + 2 * f + matrices));
    if (!work) return 1;
    REAL *turned = work, *rest = work + matrices;
    memset(dtheta, 0, sizeof(REAL) * s->models * at.end);
    const unsigned before = flush_subnormals();
    for (int64_t m = 0; m < s->models; m++) {
        const REAL *here = theta + m * at.end;
        transpose(here + at.values, f, D, D, f, turned);
        transpose(here + at.keys, D, f, f, D, turned + D * f);
        transpose(here + at.qkv, D, 3 * D, 3 * D, D, turned + 2 * D * f);
        for (int64_t b = m * s->batch; b < (m + 1) * s->batch; b++) {
#define CALL(D_)                                                                                                         \
    backward_sequence(s, here, turned, y + b * size, df + b * size, dy + b * size, dtheta + m * at.end, rest, D_)
            FOR_EACH_WIDTH(CALL)
#undef CALL
        }
    }
    restore(before);
    free(work);
    return 0;
}
