/* One block of a looped transformer, F(Y): a head, then an MLP, with or without layer norm; forward and backward.
 *
 * Compiled once per number type (REAL, EXP) by native.py and called through ctypes. Arrays are dense, row-major:
 *   y, dy, f, df   (M, B, n, D)   states of M models, B sequences each
 *   theta, dtheta  (M, P)         a model's parameters, in the order of `layout` below
 *   entropy, dentropy (M, B, n)   of the tokens' attention rows, Tsallis's of order 3/2; NULL where it is not wanted
 * Nothing is kept between forward and backward: a sequence fits into the cache, and computing everything once more is
 * cheaper than writing it down T times. Going back, one sequence's attention matrix is held; going forward, LANES rows.
 * All products are one function, which goes through its result in tiles of LANES by LANES that stay in registers. Keys
 * and values are kept transposed, too, (D, n padded to LANES), so that tiles of the attention matrix run along memory.
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
#define LANES 8
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
 * Adding 1.5 * 2^23 rounds to an integer, k, which is then in the lowest bits. Below -87.7 or so k is -127: 2^k is 0. */
INLINE float exp_float(float y) {
    const float x = -88 > y ? -88 : y, shift = 12582912;
    union { float value; uint32_t bits; } rounded = {x * 1.44269504f + shift}, two_to_k;
    const float k = rounded.value - shift, r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    two_to_k.bits = (rounded.bits + 127) << 23;
    return (p * r * r + r + 1) * two_to_k.value;
}

INLINE REAL root(REAL x) { return _Generic(x, float: sqrtf, default: sqrt)(x); }

/* ---- products ------------------------------------------------------------------------------------------------------ */

/* A matrix in memory: elements of a row are `next` apart, rows `step`. Swapping the two transposes it. */
typedef struct { const REAL *at; int64_t step, next; } matrix_t;

/* One tile of `product`. ROWS and COLUMNS are known to the compiler, at most LANES. */
INLINE void tile(matrix_t a, const REAL *restrict b, int64_t b_step, int64_t m, REAL *restrict to, int64_t to_step, int add,
                 const int ROWS, const int COLUMNS) {
    REAL sum[LANES][LANES];
    for (int r = 0; r < ROWS; r++)
#pragma omp simd
        for (int c = 0; c < COLUMNS; c++) sum[r][c] = add ? to[r * to_step + c] : 0;
    for (int64_t i = 0; i < m; i++)
        for (int r = 0; r < ROWS; r++) {
            const REAL factor = a.at[r * a.step + i * a.next];
#pragma omp simd
            for (int c = 0; c < COLUMNS; c++) sum[r][c] += factor * b[i * b_step + c];
        }
    for (int r = 0; r < ROWS; r++)
#pragma omp simd
        for (int c = 0; c < COLUMNS; c++) to[r * to_step + c] = sum[r][c];
}

/* to (rows, columns) = a (rows, m) b (m, columns), or, with `add`, this more. Rows of b and `to` lie densely. */
static void product(matrix_t a, const REAL *restrict b, int64_t b_step, int64_t rows, int64_t m, int64_t columns,
                    REAL *restrict to, int64_t to_step, int add) {
    for (int64_t i = 0; i < rows;) {
        const int whole = i + LANES <= rows;
        const matrix_t here = {a.at + i * a.step, a.step, a.next};
        REAL *restrict line = to + i * to_step;
        int64_t j = 0;
        for (; j + LANES <= columns; j += LANES)
            if (whole)
                tile(here, b + j, b_step, m, line + j, to_step, add, LANES, LANES);
            else
                tile(here, b + j, b_step, m, line + j, to_step, add, 1, LANES);
        for (; j < columns; j++)
            if (whole)
                tile(here, b + j, b_step, m, line + j, to_step, add, LANES, 1);
            else
                tile(here, b + j, b_step, m, line + j, to_step, add, 1, 1);
        i += whole ? LANES : 1;
    }
}

INLINE matrix_t dense(const REAL *at, int64_t step) { return (matrix_t){at, step, 1}; }
INLINE matrix_t turned(const REAL *at, int64_t step) { return (matrix_t){at, 1, step}; }

INLINE void transpose(const REAL *from, int64_t rows, int64_t columns, int64_t step, int64_t width, REAL *restrict to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * width + i] = from[i * step + j];
}

/* to (columns) += the sum of the rows of x (rows, columns). */
INLINE void add_rows(const REAL *restrict x, int64_t rows, int64_t columns, REAL *restrict to) {
    for (int64_t i = 0; i < rows; i++)
#pragma omp simd
        for (int64_t c = 0; c < columns; c++) to[c] += x[i * columns + c];
}

INLINE void repeat_row(const REAL *restrict row, int64_t rows, int64_t columns, REAL *restrict to) {
    for (int64_t i = 0; i < rows; i++) memcpy(to + i * columns, row, sizeof(REAL) * columns);
}

/* ---- layer norm ---------------------------------------------------------------------------------------------------- */

/* Row by row, to (n, D) = gain * hat + bias, hat the normalised x; inverse (n) is 1 / its standard deviation. */
INLINE void normalise(const REAL *x, const REAL *restrict gain_bias, int64_t n, int64_t D, REAL *restrict hat,
                      REAL *restrict inverse, REAL *restrict to) {
    for (int64_t i = 0; i < n; i++, x += D, hat += D, to += D) {
        REAL mean = 0, spread = 0;
        for (int64_t c = 0; c < D; c++) mean += x[c];
        mean /= D;
        for (int64_t c = 0; c < D; c++) spread += (x[c] - mean) * (x[c] - mean);
        inverse[i] = 1 / (REAL)sqrt((double)(spread / D + EPS));
        for (int64_t c = 0; c < D; c++) {
            hat[c] = (x[c] - mean) * inverse[i];
            to[c] = hat[c] * gain_bias[c] + gain_bias[D + c];
        }
    }
}

/* Gradient through `normalise`: from that of its result (in place) to that of x; adds those of gain and bias. */
INLINE void normalise_backward(REAL *restrict g, const REAL *restrict hat, const REAL *restrict inverse,
                               const REAL *restrict gain_bias, int64_t n, int64_t D, REAL *restrict to_gain_bias) {
    for (int64_t i = 0; i < n; i++, g += D, hat += D) {
        REAL mean = 0, along = 0;
        for (int64_t c = 0; c < D; c++) {
            to_gain_bias[c] += g[c] * hat[c];
            to_gain_bias[D + c] += g[c];
            g[c] *= gain_bias[c];
            mean += g[c];
            along += g[c] * hat[c];
        }
        for (int64_t c = 0; c < D; c++) g[c] = inverse[i] * (g[c] - mean / D - hat[c] * along / D);
    }
}

/* ---- attention of one sequence ----------------------------------------------------------------------------------- */

INLINE int64_t pad(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* w (LANES, padded) from logits to weights before their division by `total`, for tokens i … i + rows; 0 beyond what a
 * token sees. `end` is a multiple of LANES. */
INLINE void weigh(const shape_t *s, int64_t i, int64_t rows, int64_t end, int64_t padded, REAL *w, REAL *total) {
    for (int64_t r = 0; r < rows; r++) {
        REAL *restrict row = w + r * padded, top = -INFINITY, sum = 0;
        for (int64_t j = s->causal ? i + r + 1 : s->tokens; j < end; j++) row[j] = -INFINITY;
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < end; j++) top = row[j] > top ? row[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < end; j++) {
            row[j] = EXP(row[j] - top);
            sum += row[j];
        }
        total[r] = sum;
    }
}

/* S = 2 (1 - sum_j p_j sqrt p_j) of rows as `weigh` leaves them, as 2 sum_j p_j (1 - sqrt p_j): no term is below 0, and
 * certainty is 0 exactly. What a token does not see has p = 0 and adds nothing. */
INLINE void tsallis(const REAL *w, int64_t rows, int64_t end, int64_t padded, const REAL *total, REAL *restrict entropy) {
    for (int64_t r = 0; r < rows; r++) {
        const REAL *restrict row = w + r * padded, inverse = 1 / total[r];
        REAL sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < end; j++) sum += row[j] * (1 - root(row[j] * inverse));
        entropy[r] = 2 * inverse * sum;
    }
}

/* u = softmax(q k^T) v, with q scaled already; `w` holds LANES rows of the attention matrix, or, with `keep`, all. */
INLINE void attend(const shape_t *s, const REAL *restrict q, const REAL *restrict qkv, REAL *restrict k, REAL *restrict w,
                   int keep, REAL *restrict total, REAL *restrict u, REAL *restrict entropy, int64_t D) {
    const int64_t n = s->tokens, padded = pad(n);
    memset(k, 0, sizeof(REAL) * D * padded);
    transpose(qkv + D, n, D, 3 * D, padded, k);
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t rows = n - i < LANES ? n - i : LANES, seen = s->causal ? i + rows : n;
        REAL *here = keep ? w + i * padded : w;
        product(dense(q + i * D, D), k, padded, rows, D, pad(seen), here, padded, 0);
        weigh(s, i, rows, pad(seen), padded, here, total + i);
        if (entropy) tsallis(here, rows, pad(seen), padded, total + i, entropy + i);
        product(dense(here, padded), qkv + 2 * D, 3 * D, rows, seen, D, u + i * D, D, 0);
        for (int64_t r = 0; r < rows; r++)
#pragma omp simd
            for (int64_t c = 0; c < D; c++) u[(i + r) * D + c] /= total[i + r];
    }
}

/* With p (n, padded) the weights as `attend` keeps them: ds_ij = p_ij (du_i . v_j - du_i . u_i), dq_i = ds_i k,
 * dk_j = sum_i ds_ij q_i, dv_j = sum_i p_ij du_i. A row's entropy adds 3 (1 - sqrt p_ij) dentropy_i to du_i . v_j, and
 * their mean over p_i to du_i . u_i: its slope is -3 sqrt p_ij, and a softmax does not see the constant. */
INLINE void attend_backward(const shape_t *s, const REAL *restrict q, const REAL *restrict qkv, const REAL *restrict u,
                            const REAL *restrict du, const REAL *restrict dentropy, REAL *restrict p,
                            const REAL *restrict total, REAL *restrict v, REAL *restrict ds, REAL *restrict dqkv,
                            int64_t D) {
    const int64_t n = s->tokens, padded = pad(n);
    const REAL scale = 1 / (REAL)sqrt((double)D);
    memset(v, 0, sizeof(REAL) * D * padded);
    transpose(qkv + 2 * D, n, D, 3 * D, padded, v);
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t rows = n - i < LANES ? n - i : LANES, seen = s->causal ? i + rows : n, end = pad(seen);
        product(dense(du + i * D, D), v, padded, rows, D, end, ds + i * padded, padded, 0);
        for (int64_t r = i; r < i + rows; r++) {
            REAL mean = 0, inverse = 1 / total[r];
            for (int64_t c = 0; c < D; c++) mean += du[r * D + c] * u[r * D + c];
            if (dentropy) {
                const REAL slope = 3 * dentropy[r];
                REAL sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < end; j++) {
                    const REAL open = 1 - root(p[r * padded + j] * inverse);
                    sum += p[r * padded + j] * open;
                    ds[r * padded + j] += slope * open;
                }
                mean += slope * inverse * sum;
            }
#pragma omp simd
            for (int64_t j = 0; j < end; j++) {
                p[r * padded + j] *= inverse;
                ds[r * padded + j] = p[r * padded + j] * (ds[r * padded + j] - mean);
            }
        }
        product(dense(ds + i * padded, padded), qkv + D, 3 * D, rows, seen, D, dqkv + i * 3 * D, 3 * D, 0);
        for (int64_t r = i; r < i + rows; r++)
            for (int64_t c = 0; c < D; c++) dqkv[r * 3 * D + c] *= scale;
    }
    for (int64_t j = 0; j < n; j += LANES) {
        const int64_t rows = n - j < LANES ? n - j : LANES, first = s->causal ? j : 0;
        REAL *restrict to = dqkv + j * 3 * D;
        product(turned(ds + first * padded + j, padded), q + first * D, D, rows, n - first, D, to + D, 3 * D, 0);
        product(turned(p + first * padded + j, padded), du + first * D, D, rows, n - first, D, to + 2 * D, 3 * D, 0);
    }
}

/* ---- a block on one sequence ------------------------------------------------------------------------------------- */

/* What a sequence needs in between; all rows are a token's. Pointers into one piece of memory. */
typedef struct {
    REAL *a, *hat_in, *inverse_in;        /* what the head sees, and the norm before it */
    REAL *qkv, *q, *k, *w, *total, *u;    /* the head, as in `attend` */
    REAL *mid, *hat_mid, *inverse_mid;    /* what the MLP sees, and the norm before it */
    REAL *h, *out;                        /* its neurons, and what is added to u */
    REAL *hat_out, *inverse_out;          /* the norm at the end */
    REAL *g, *dh, *dmid, *du, *dqkv, *v, *ds; /* only going back: gradients */
    int64_t end;                          /* numbers in all */
} work_t;

/* Without memory (NULL), only how much is needed. */
INLINE work_t places(const shape_t *s, int64_t D, REAL *memory, int keep) {
    const int64_t n = s->tokens, f = s->neurons, padded = pad(n);
    work_t to = {0};
#define PLACE(NAME, COUNT) to.NAME = memory ? memory + to.end : NULL, to.end += (COUNT)
    PLACE(a, n * D), PLACE(hat_in, n * D), PLACE(inverse_in, n);
    PLACE(qkv, 3 * n * D), PLACE(q, n * D), PLACE(k, D * padded), PLACE(w, (keep ? padded : LANES) * padded);
    PLACE(total, padded), PLACE(u, n * D), PLACE(mid, n * D), PLACE(hat_mid, n * D), PLACE(inverse_mid, n);
    PLACE(h, n * f), PLACE(out, n * D), PLACE(hat_out, n * D), PLACE(inverse_out, n);
    if (keep) {
        PLACE(g, n * D), PLACE(dh, n * f), PLACE(dmid, n * D), PLACE(du, n * D);
        PLACE(dqkv, 3 * n * D), PLACE(v, D * padded), PLACE(ds, padded * padded);
    }
#undef PLACE
    return to;
}

/* All of it; the result in f (n, D) and, unless it is NULL, entropy (n). */
INLINE void run(const shape_t *s, const layout_t *at, const REAL *theta, const REAL *y, const work_t *to, int keep, REAL *f,
                REAL *entropy, int64_t D) {
    const int64_t n = s->tokens, neurons = s->neurons;
    const REAL scale = 1 / (REAL)sqrt((double)D);
    if (s->norm == NORM_PRE)
        normalise(y, theta + at->norm_in, n, D, to->hat_in, to->inverse_in, to->a);
    else
        memcpy(to->a, y, sizeof(REAL) * n * D);
    product(dense(to->a, D), theta + at->qkv, 3 * D, n, D, 3 * D, to->qkv, 3 * D, 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < D; c++) to->q[i * D + c] = scale * to->qkv[i * 3 * D + c];
    attend(s, to->q, to->qkv, to->k, to->w, keep, to->total, to->u, entropy, D);
    memcpy(to->out, to->u, sizeof(REAL) * n * D);
    if (neurons) {
        if (s->norm == NORM_PRE)
            normalise(to->u, theta + at->norm_mid, n, D, to->hat_mid, to->inverse_mid, to->mid);
        else
            memcpy(to->mid, to->u, sizeof(REAL) * n * D);
        repeat_row(theta + at->keys_bias, n, neurons, to->h);
        product(dense(to->mid, D), theta + at->keys, neurons, n, D, neurons, to->h, neurons, 1);
#pragma omp simd
        for (int64_t j = 0; j < n * neurons; j++) to->h[j] = to->h[j] < 0 ? 0 : to->h[j]; /* NaN stays */
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < D; c++) to->out[i * D + c] += theta[at->values_bias + c];
        product(dense(to->h, neurons), theta + at->values, D, n, neurons, D, to->out, D, 1);
    }
    if (s->norm == NORM_POST)
        normalise(to->out, theta + at->norm_out, n, D, to->hat_out, to->inverse_out, f);
    else
        memcpy(f, to->out, sizeof(REAL) * n * D);
}

/* `flipped` holds the products' matrices transposed: values (D, neurons), keys (neurons, D), qkv (3 D, D). */
INLINE void run_backward(const shape_t *s, const layout_t *at, const REAL *theta, const REAL *flipped, const REAL *df,
                         const REAL *dentropy, const work_t *to, REAL *dy, REAL *dtheta, int64_t D) {
    const int64_t n = s->tokens, f = s->neurons;
    memcpy(to->g, df, sizeof(REAL) * n * D);
    if (s->norm == NORM_POST)
        normalise_backward(to->g, to->hat_out, to->inverse_out, theta + at->norm_out, n, D, dtheta + at->norm_out);
    memcpy(to->du, to->g, sizeof(REAL) * n * D);
    if (f) {
        product(turned(to->h, f), to->g, D, f, n, D, dtheta + at->values, D, 1);
        add_rows(to->g, n, D, dtheta + at->values_bias);
        product(dense(to->g, D), flipped, f, n, D, f, to->dh, f, 0);
#pragma omp simd
        for (int64_t j = 0; j < n * f; j++) to->dh[j] = to->h[j] > 0 ? to->dh[j] : 0;
        add_rows(to->dh, n, f, dtheta + at->keys_bias);
        product(turned(to->mid, D), to->dh, f, D, n, f, dtheta + at->keys, f, 1);
        product(dense(to->dh, f), flipped + D * f, D, n, f, D, to->dmid, D, 0);
        if (s->norm == NORM_PRE)
            normalise_backward(to->dmid, to->hat_mid, to->inverse_mid, theta + at->norm_mid, n, D, dtheta + at->norm_mid);
        for (int64_t j = 0; j < n * D; j++) to->du[j] += to->dmid[j];
    }
    attend_backward(s, to->q, to->qkv, to->u, to->du, dentropy, to->w, to->total, to->v, to->ds, to->dqkv, D);
    product(turned(to->a, D), to->dqkv, 3 * D, D, n, 3 * D, dtheta + at->qkv, 3 * D, 1);
    product(dense(to->dqkv, 3 * D), flipped + 2 * D * f, D, n, 3 * D, D, dy, D, 0);
    if (s->norm == NORM_PRE)
        normalise_backward(dy, to->hat_in, to->inverse_in, theta + at->norm_in, n, D, dtheta + at->norm_in);
}

/* ---- all sequences of all models --------------------------------------------------------------------------------- */

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
int forward(const shape_t *s, int64_t D, const REAL *theta, const REAL *y, REAL *f, REAL *entropy) {
    const int64_t size = s->tokens * D;
    const layout_t at = layout(s, D);
    REAL *memory = malloc(sizeof(REAL) * places(s, D, NULL, 0).end);
    if (!memory) return 1;
    const work_t work = places(s, D, memory, 0);
    const unsigned before = flush_subnormals();
    for (int64_t m = 0; m < s->models; m++)
        for (int64_t b = m * s->batch; b < (m + 1) * s->batch; b++)
            run(s, &at, theta + m * at.end, y + b * size, &work, 0, f + b * size, entropy ? entropy + b * s->tokens : NULL, D);
    restore(before);
    free(memory);
    return 0;
}

int backward(const shape_t *s, int64_t D, const REAL *theta, const REAL *y, const REAL *df, const REAL *dentropy, REAL *dy,
             REAL *dtheta) {
    const int64_t size = s->tokens * D, f = s->neurons, matrices = 2 * D * f + 3 * D * D;
    const layout_t at = layout(s, D);
    REAL *memory = malloc(sizeof(REAL) * (matrices + places(s, D, NULL, 1).end));
    if (!memory) return 1;
    REAL *flipped = memory;
    const work_t work = places(s, D, memory + matrices, 1);
    memset(dtheta, 0, sizeof(REAL) * s->models * at.end);
    const unsigned before = flush_subnormals();
    for (int64_t m = 0; m < s->models; m++) {
        const REAL *here = theta + m * at.end;
        transpose(here + at.values, f, D, D, f, flipped);
        transpose(here + at.keys, D, f, f, D, flipped + D * f);
        transpose(here + at.qkv, D, 3 * D, 3 * D, D, flipped + 2 * D * f);
        for (int64_t b = m * s->batch; b < (m + 1) * s->batch; b++) {
            run(s, &at, here, y + b * size, &work, 1, dy + b * size, NULL, D);
            run_backward(s, &at, here, flipped, df + b * size, dentropy ? dentropy + b * s->tokens : NULL, &work,
                         dy + b * size, dtheta + m * at.end, D);
        }
    }
    restore(before);
    free(memory);
    return 0;
}
