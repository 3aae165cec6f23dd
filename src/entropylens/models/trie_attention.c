/* Causal attention on the prefix trie, forward and backward, for M models.
 *
 * A node attends to itself and its ancestors. Compiled once per number type (REAL, EXP) by trie_kernel.py and called
 * through ctypes. Arrays are dense, row-major:
 *   qkv, dqkv   (M, rows, 3, H, D)   queries, keys, values
 *   path        (N, T)               the rows of a node and its ancestors, nearest first, -1 beyond the root. Nodes may
 *                                    share rows: the first layer's input depends on (symbol, depth) only
 *   out, dout   (M, N, H, D)
 *   weights     (M, N, H, T)         softmax along the path, 0 beyond the root
 * Every sum runs in a fixed order: the same input gives the same bits.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct { int64_t members, nodes, rows, heads, length; } shape_t;
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE REAL dot(const REAL *restrict a, const REAL *restrict b, int64_t n) {
    REAL s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

ALWAYS_INLINE void axpy(REAL a, const REAL *restrict x, REAL *restrict y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* e^x for x <= 0 to 1 ulp or so, in a form that vectorises: 2^k times a degree 6 polynomial (Cephes' expf). NaN stays. */
ALWAYS_INLINE float exp_float(float x) {
    x = x < -87 ? -87 : x;
    const float k = __builtin_rintf(x * 1.44269504f), r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    union { int32_t bits; float value; } two_to_k = {.bits = ((int32_t)k + 127) << 23};
    return (p * r * r + r + 1) * two_to_k.value;
}

/* One member, forward. D is a constant at every call site but one, so that the inner loops unroll. */
ALWAYS_INLINE void forward_member(const shape_t s, const int64_t *path, const REAL *qkv, REAL *out, REAL *weights,
                                  const int64_t D) {
    const int64_t width = s.heads * D, T = s.length;
    const REAL scale = 1 / (REAL)sqrt((double)D);
    for (int64_t n = 0; n < s.nodes; n++)
        for (int64_t h = 0; h < s.heads; h++) {
            const REAL *head = qkv + h * D, *q = head + path[n * T] * 3 * width;
            REAL *w = weights + (n * s.heads + h) * T, top = -INFINITY;
            for (int64_t j = 0; j < T; j++) {
                const int64_t row = path[n * T + j];
                w[j] = row < 0 ? -INFINITY : scale * dot(q, head + (row * 3 + 1) * width, D);
                if (w[j] > top) top = w[j]; /* a NaN spreads through the sum below, as it should */
            }
            for (int64_t j = 0; j < T; j++) w[j] -= top;
        }
    for (int64_t i = 0; i < s.nodes * s.heads * T; i++) weights[i] = EXP(weights[i]);
    for (int64_t n = 0; n < s.nodes; n++)
        for (int64_t h = 0; h < s.heads; h++, out += D) {
            const REAL *head = qkv + h * D;
            REAL *w = weights + (n * s.heads + h) * T, total = 0, o[D];
            int64_t depth = 0;
            for (; depth < T && path[n * T + depth] >= 0; depth++) total += w[depth];
            for (int64_t i = 0; i < D; i++) o[i] = 0;
            for (int64_t j = 0; j < depth; j++) {
                w[j] /= total;
                axpy(w[j], head + (path[n * T + j] * 3 + 2) * width, o, D);
            }
            for (int64_t i = 0; i < D; i++) out[i] = o[i];
            for (int64_t j = depth; j < T; j++) w[j] = 0;
        }
}

/* One member, backward: dv += w·do, ds = w (do·v − Σ w do·v), dq += ds·k, dk += ds·q (ds times the scale). */
ALWAYS_INLINE void backward_member(const shape_t s, const int64_t *path, const REAL *qkv, const REAL *weights,
                                   const REAL *dout, REAL *dqkv, const int64_t D) {
    const int64_t width = s.heads * D;
    const REAL scale = 1 / (REAL)sqrt((double)D);
    memset(dqkv, 0, sizeof(REAL) * s.rows * 3 * width);
    for (int64_t n = 0; n < s.nodes; n++, path += s.length)
        for (int64_t h = 0; h < s.heads; h++, weights += s.length, dout += D) {
            const REAL *head = qkv + h * D, *q = head + path[0] * 3 * width;
            REAL *dhead = dqkv + h * D;
            REAL mean = 0, dw[s.length], dq[D];
            int64_t depth = 0;
            for (; depth < s.length && path[depth] >= 0; depth++) {
                dw[depth] = dot(dout, head + (path[depth] * 3 + 2) * width, D);
                mean += weights[depth] * dw[depth];
            }
            for (int64_t i = 0; i < D; i++) dq[i] = 0;
            for (int64_t j = 0; j < depth; j++) {
                const REAL ds = scale * weights[j] * (dw[j] - mean);
                axpy(weights[j], dout, dhead + (path[j] * 3 + 2) * width, D);
                axpy(ds, q, dhead + (path[j] * 3 + 1) * width, D);
                axpy(ds, head + (path[j] * 3 + 1) * width, dq, D);
            }
            axpy(1, dq, dhead + path[0] * 3 * width, D);
        }
}

#define FOR_EACH_WIDTH(CALL)                                                                                        \
    switch (D) {                                                                                                    \
    case 2: CALL(2); break;                                                                                         \
    case 4: CALL(4); break;                                                                                         \
    case 8: CALL(8); break;                                                                                         \
    case 16: CALL(16); break;                                                                                       \
    case 32: CALL(32); break;                                                                                       \
    case 64: CALL(64); break;                                                                                       \
    default: CALL(D);                                                                                               \
    }

void forward(const shape_t *s, int64_t D, const int64_t *path, const REAL *qkv, REAL *out, REAL *weights) {
    const int64_t in = s->rows * 3 * s->heads * D, o = s->nodes * s->heads * D, w = s->nodes * s->heads * s->length;
    for (int64_t m = 0; m < s->members; m++) {
#define CALL(D_) forward_member(*s, path, qkv + m * in, out + m * o, weights + m * w, D_)
        FOR_EACH_WIDTH(CALL)
#undef CALL
    }
}

void backward(const shape_t *s, int64_t D, const int64_t *path, const REAL *qkv, const REAL *weights,
              const REAL *dout, REAL *dqkv) {
    const int64_t in = s->rows * 3 * s->heads * D, o = s->nodes * s->heads * D, w = s->nodes * s->heads * s->length;
    for (int64_t m = 0; m < s->members; m++) {
#define CALL(D_) backward_member(*s, path, qkv + m * in, weights + m * w, dout + m * o, dqkv + m * in, D_)
        FOR_EACH_WIDTH(CALL)
#undef CALL
    }
}
