// Convolution (stride 1) + bias + 2x2 max pool (stride 2) + ReLU, and its gradients, on one core.
//
// kernels/conv_block.py says why this is fast and builds this file; here is how.
//
// Forward. L images go side by side, one per lane of a vector (L = 16 with AVX-512, 8 with AVX2), so that every
// shape fills the vectors: scratch[channel][row][column][lane], padded with zeros. A register block holds the
// four pixels of one window times B output channels; after the last tap the window's maximum is taken in
// registers. Out come the pooled value and one byte, the winner: which of the four pixels it was (0..3 = 2 row +
// column), or DEAD where the ReLU is flat.
//
// Backward. Image by image, channels last. The list of live winners of an image holds for each its gradient and
// the place of a row of floats; both gradients are sums "gradient x row" over such a list (`add_rows`): for the
// weights the row is a piece of the image under the kernel, for the input it is a row of the kernel.
//
// Sums run in a fixed order: the same input gives the same bits. Where an input is not finite nothing is computed
// and NOT_FINITE is returned: NaN and inf must spread as in the stock operators, where 0 x inf is NaN, so the
// caller runs those.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if !defined(__AVX2__) || !defined(__FMA__)
#error "this processor has no AVX2 with FMA"
#endif

namespace {

#ifdef __AVX512F__
constexpr int L = 16;      // floats in a vector
constexpr int BLOCK = 5;   // output channels in a register block: 4 x 5 sums, 4 pixels, of 32 registers
#else
constexpr int L = 8;
constexpr int BLOCK = 2;   // 4 x 2 sums, 4 pixels, 2 weights, of 16 registers
#endif
typedef float vec __attribute__((vector_size(4 * L)));
typedef float loose_vec __attribute__((vector_size(4 * L), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(4 * L)));

constexpr uint8_t DEAD = 4;
enum Status { DONE = 0, NOT_FINITE = 1, NO_MEMORY = 2 };

inline vec load(const float* p) { return *reinterpret_cast<const loose_vec*>(p); }
inline void store(float* p, vec v) { *reinterpret_cast<loose_vec*>(p) = v; }
inline int vectors_for(int floats) { return (floats + L - 1) / L; }

struct Shape {
    int in, height, width, out, kernel, padding;
    int rows() const { return (height + 2 * padding - kernel + 1) / 2; }    // of the pooled output
    int columns() const { return (width + 2 * padding - kernel + 1) / 2; }
    int padded_height() const { return 2 * rows() + kernel - 1; }           // what the windows can see
    int padded_width() const { return 2 * columns() + kernel - 1; }
    int seen_height() const { return std::min(height, padded_height() - padding); }
    int seen_width() const { return std::min(width, padded_width() - padding); }
    size_t image() const { return size_t(in) * height * width; }
    size_t pooled() const { return size_t(out) * rows() * columns(); }
    size_t weights() const { return size_t(out) * in * kernel * kernel; }
};

// Scratch memory, kept from call to call: asking the system for it every time costs more than using it.
class Scratch {
    float* memory = nullptr;
    size_t size = 0, used = 0;

  public:
    ~Scratch() { std::free(memory); }
    bool reserve(size_t floats) {
        used = 0;
        if (floats > size) {
            std::free(memory);
            size = 0;
            memory = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
            if (memory) size = floats;
        }
        return memory != nullptr;
    }
    float* take(size_t floats) {  // of what is reserved; each take may use 16 more than asked
        float* start = memory + used;
        used += (floats + 15) / 16 * 16;
        return start;
    }
};
thread_local Scratch scratch;

bool finite(const float* p, size_t n) {
    vec sum = {};  // v x 0 is 0, or NaN where v is not finite
    size_t i = 0;
    for (; i + L <= n; i += L) sum += load(p + i) * 0.0f;
    float rest = 0;
    for (; i < n; i++) rest += p[i] * 0.0f;
    for (int lane = 0; lane < L; lane++) rest += sum[lane];
    return rest == 0;
}

inline void transpose8(const float* from, size_t from_stride, float* to, size_t to_stride) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + i * from_stride);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

// to[j][i] = from[i][j] for i < rows, j < columns. The last block of 8 overlaps the one before it.
void transpose(const float* from, size_t from_stride, float* to, size_t to_stride, int rows, int columns) {
    if (rows < 8 || columns < 8) {
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) to[j * to_stride + i] = from[i * from_stride + j];
        return;
    }
    for (int i = 0; i < rows; i += 8)
        for (int j = 0; j < columns; j += 8) {
            const int a = std::min(i, rows - 8), b = std::min(j, columns - 8);
            transpose8(from + a * from_stride + b, from_stride, to + b * to_stride + a, to_stride);
        }
}

// All windows of L images for B output channels: pooled[B][window][lane] and, unless null, winner likewise.
template <int B>
void forward_block(const Shape& s, const float* x, const float* w, const float* bias, float* pooled,
                   uint8_t* winner) {
    const int k = s.kernel, width = s.padded_width(), windows = s.rows() * s.columns();
    const int some = std::max(1, 128 / (k * k));
    const size_t plane = size_t(s.padded_height()) * width * L;
    for (int row = 0; row < s.rows(); row++)
        for (int column = 0; column < s.columns(); column++) {
            // taps that see nothing but padding are left out
            const int top = std::max(0, s.padding - 1 - 2 * row), left = std::max(0, s.padding - 1 - 2 * column);
            const int bottom = std::min(k, s.padding + s.height - 2 * row);
            const int right = std::min(k, s.padding + s.width - 2 * column);
            vec sum[4][B] = {};
            for (int c = 0; c < s.in;) {  // some channels at a time: short sums round less
                vec part[4][B] = {};
                for (const int end = std::min(s.in, c + some); c < end; c++)
                    for (int i = top; i < bottom; i++) {
                        const float* p = x + c * plane + (size_t(2 * row + i) * width + 2 * column) * L;
                        const float* tap = w + size_t(c * k + i) * k * B;
                        for (int j = left; j < right; j++) {
                            const vec x0 = load(p + j * L), x1 = load(p + (j + 1) * L);
                            const vec x2 = load(p + (width + j) * L), x3 = load(p + (width + j + 1) * L);
#pragma GCC unroll 8
                            for (int b = 0; b < B; b++) {
                                const float wb = tap[j * B + b];
                                part[0][b] += x0 * wb;
                                part[1][b] += x1 * wb;
                                part[2][b] += x2 * wb;
                                part[3][b] += x3 * wb;
                            }
                        }
                    }
#pragma GCC unroll 8
                for (int b = 0; b < B; b++)
#pragma GCC unroll 4
                    for (int pixel = 0; pixel < 4; pixel++) sum[pixel][b] += part[pixel][b];
            }
            const int window = row * s.columns() + column;
#pragma GCC unroll 8
            for (int b = 0; b < B; b++) {
                vec best = sum[0][b];
                ivec which = {};
#pragma GCC unroll 3
                for (int pixel = 1; pixel < 4; pixel++) {  // the first of equal pixels wins, as in Paddle
                    const ivec keep = best >= sum[pixel][b];
                    which = keep ? which : ivec{} + pixel;
                    best = keep ? best : sum[pixel][b];
                }
                best += bias[b];
                const ivec live = best > 0.0f;
                const size_t at = (size_t(b) * windows + window) * L;
                store(pooled + at, live ? best : vec{});
                if (winner) {
                    which = live ? which : ivec{} + DEAD;
                    for (int lane = 0; lane < L; lane++) winner[at + lane] = uint8_t(which[lane]);
                }
            }
        }
}

template <int B>
void forward_blocks(int b, const Shape& s, const float* x, const float* w, const float* bias, float* pooled,
                    uint8_t* winner) {
    if (b == B) return forward_block<B>(s, x, w, bias, pooled, winner);
    if constexpr (B > 1) forward_blocks<B - 1>(b, s, x, w, bias, pooled, winner);
}

// For each of `count` live winners its gradient, and where in a field of rows its row of floats begins.
struct List {
    const float* gradient;
    const int32_t* at;
    int count;
};

// total[0 .. V vectors] += sum over the list of gradient x row. Additions to one sum wait for each other, so few
// sums are kept several times over.
template <int V>
void add_rows(const List& list, const float* rows, float* total) {
    constexpr int TIMES = V <= 2 ? 4 : V <= 4 ? 2 : 1;
    vec sum[TIMES][V] = {};
    int i = 0;
    for (; i + TIMES <= list.count; i += TIMES)
#pragma GCC unroll 4
        for (int t = 0; t < TIMES; t++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                sum[t][v] += list.gradient[i + t] * load(rows + list.at[i + t] + v * L);
    for (; i < list.count; i++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[0][v] += list.gradient[i] * load(rows + list.at[i] + v * L);
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
        for (int t = 1; t < TIMES; t++) sum[0][v] += sum[t][v];
        store(total + v * L, load(total + v * L) + sum[0][v]);
    }
}

// The same for rows of any length: as many vectors at once as there are registers for.
void add_rows(int vectors, const List& list, const float* rows, float* total) {
    for (; vectors > 8; vectors -= 8, rows += 8 * L, total += 8 * L) add_rows<8>(list, rows, total);
    switch (vectors) {
        case 1: return add_rows<1>(list, rows, total);
        case 2: return add_rows<2>(list, rows, total);
        case 3: return add_rows<3>(list, rows, total);
        case 4: return add_rows<4>(list, rows, total);
        case 5: return add_rows<5>(list, rows, total);
        case 6: return add_rows<6>(list, rows, total);
        case 7: return add_rows<7>(list, rows, total);
        case 8: return add_rows<8>(list, rows, total);
    }
}

// The gradients of weights and bias. The image lies channels last, so that what a kernel sees of it is `pieces`
// rows of `length` floats, and a winner's row begins at its pixel. With few channels such rows are short; then each
// pixel holds the kernel's height of pixels below it as well ("tall"), and the kernel sees a single row.
struct WeightGradient {
    const Shape& s;
    const bool tall = s.kernel * s.in < L;
    const int pixel = tall ? s.kernel * s.in : s.in, line = s.padded_width() * pixel;
    const int pieces = tall ? 1 : s.kernel, length = s.kernel * pixel, vectors = vectors_for(length);
    const size_t image_size = size_t(s.padded_height()) * line + L;
    const size_t sum_size = size_t(s.out) * pieces * vectors * L;
    const size_t list_size = s.rows() * s.columns() + L;
    float *image = nullptr, *sum = nullptr, *gradient = nullptr;
    int32_t* at = nullptr;

    size_t size() const { return image_size + sum_size + 2 * list_size + 4 * 16; }
    void take(Scratch& from) {
        image = from.take(image_size), sum = from.take(sum_size), gradient = from.take(list_size);
        at = reinterpret_cast<int32_t*>(from.take(list_size));
        std::memset(image, 0, image_size * sizeof(float));  // its rim is the padding, and stays zero
        std::memset(sum, 0, sum_size * sizeof(float));
    }

    void add(const float* x, const uint8_t* winner, const float* dy, float* dbias) {
        const size_t plane = size_t(s.height) * s.width, windows = size_t(s.rows()) * s.columns();
        for (int row = 0; row < s.seen_height(); row++)
            for (int i = 0; i < (tall ? std::min(s.kernel, row + s.padding + 1) : 1); i++)
                transpose(x + size_t(row) * s.width, plane,
                          image + size_t(row + s.padding - i) * line + s.padding * pixel + i * s.in, pixel, s.in,
                          s.seen_width());
        const int place[] = {0, pixel, line, line + pixel, 0};  // from a window's first pixel to its winner
        for (int o = 0; o < s.out; o++, dy += windows, winner += windows * L) {
            int count = 0;
            for (int row = 0, window = 0; row < s.rows(); row++)
                for (int column = 0; column < s.columns(); column++, window++) {
                    const int which = winner[size_t(window) * L];
                    gradient[count] = dy[window];
                    at[count] = 2 * row * line + 2 * column * pixel + place[which];
                    count += which != DEAD;  // without a branch: nobody can predict who lives
                }
            dbias[o] += total(gradient, count);
            for (int i = 0; i < pieces; i++)
                add_rows(vectors, {gradient, at, count}, image + i * line,
                         sum + (size_t(o) * pieces + i) * vectors * L);
        }
    }

    static float total(float* p, int n) {  // p has room for another vector
        vec sum = {};
        store(p + n, sum);
        for (int i = 0; i < n; i += L) sum += load(p + i);
        float all = 0;
        for (int lane = 0; lane < L; lane++) all += sum[lane];
        return all;
    }

    void write(float* dw) const {
        for (int o = 0; o < s.out; o++)
            for (int c = 0; c < s.in; c++)
                for (int i = 0; i < s.kernel; i++)
                    for (int j = 0; j < s.kernel; j++)
                        *dw++ = tall ? sum[size_t(o) * vectors * L + (j * s.kernel + i) * s.in + c]
                                     : sum[(size_t(o) * pieces + i) * vectors * L + j * s.in + c];
    }
};

// The gradient of the input, channels last too. A winner adds its gradient x row i of its kernel to row i of what
// the kernel saw. The winners of a window that lie in one column add to the same places, so each window has two
// lists, for its left pixels and its right. A list grows from its middle: winners of the window's upper row behind
// it, those of its lower row before. Row i of the window's surroundings then takes row i of the kernel from the
// upper ones and row i - 1 from the lower ones.
struct InputGradient {
    const Shape& s;
    const int length = s.kernel * s.in, vectors = vectors_for(length), kernel_row = vectors * L;
    const int room = 4 * s.out + 1;  // for a window's two lists of up to 2 out, and a place to throw the dead
    const size_t image_size = size_t(s.padded_height()) * s.padded_width() * s.in + L;
    const size_t rows_size = size_t(s.kernel) * s.out * kernel_row, list_size = size_t(s.columns()) * room;
    const size_t end_size = size_t(s.columns()) * (DEAD + 1);
    float *image = nullptr, *rows = nullptr, *gradient = nullptr;
    int32_t *at = nullptr, *ends = nullptr;

    size_t size() const { return image_size + rows_size + 2 * list_size + end_size + 5 * 16; }
    void take(Scratch& from, const float* w) {  // rows[i][o]: row i of the kernel of output channel o
        image = from.take(image_size), rows = from.take(rows_size), gradient = from.take(list_size);
        at = reinterpret_cast<int32_t*>(from.take(list_size));
        ends = reinterpret_cast<int32_t*>(from.take(end_size));
        std::memset(rows, 0, rows_size * sizeof(float));
        for (int o = 0; o < s.out; o++)
            for (int c = 0; c < s.in; c++)
                for (int i = 0; i < s.kernel; i++)
                    for (int j = 0; j < s.kernel; j++)
                        rows[(size_t(i) * s.out + o) * kernel_row + j * s.in + c] = *w++;
    }

    void list(const uint8_t* winner, const float* dy, int row) {  // the winners of a row of windows
        const size_t windows = size_t(s.rows()) * s.columns();
        const int step[] = {1, 1, -1, -1, 0}, lower = -s.out * kernel_row, shift[] = {0, 0, lower, lower, 0};
        for (int column = 0; column < s.columns(); column++) {
            const int left = column * room + s.out, right = left + 2 * s.out;
            int32_t* end = ends + column * (DEAD + 1);
            end[0] = left, end[1] = right, end[2] = left - 1, end[3] = right - 1, end[DEAD] = right + s.out;
            for (int o = 0; o < s.out; o++) {
                const size_t window = o * windows + row * s.columns() + column;
                const int which = winner[window * L], slot = end[which];
                gradient[slot] = dy[window];
                at[slot] = o * kernel_row + shift[which];
                end[which] = slot + step[which];
            }
        }
    }

    void compute(const uint8_t* winner, const float* dy, float* dx) {
        std::memset(image, 0, image_size * sizeof(float));
        for (int row = 0; row < s.rows(); row++) {
            list(winner, dy, row);
            for (int i = 0; i <= s.kernel; i++)
                for (int column = 0; column < s.columns(); column++)
                    for (int side = 0; side < 2; side++) {
                        const int32_t* end = ends + column * (DEAD + 1);
                        const int middle = column * room + (2 * side + 1) * s.out;
                        const int first = i == 0 ? middle : end[2 + side] + 1;
                        const int last = i == s.kernel ? middle : end[side];
                        add_rows(vectors, {gradient + first, at + first, last - first},
                                 rows + size_t(i) * s.out * kernel_row,
                                 image + (size_t(2 * row + i) * s.padded_width() + 2 * column + side) * s.in);
                    }
        }
        if (s.seen_height() < s.height || s.seen_width() < s.width) std::memset(dx, 0, s.image() * sizeof(float));
        for (int row = 0; row < s.seen_height(); row++)
            transpose(image + (size_t(row + s.padding) * s.padded_width() + s.padding) * s.in, s.in,
                      dx + size_t(row) * s.width, size_t(s.height) * s.width, s.seen_width(), s.in);
    }
};

}  // namespace

extern "C" {

int conv_block_version() { return 1; }
int conv_block_lanes() { return L; }

// x [images, in, height, width], w [out, in, kernel, kernel], bias [out] -> y [images, out, rows, columns], and
// winner [ceil(images / L), out, rows, columns, L] unless null. All contiguous; sizes are the caller's to check.
int conv_block_forward(const float* x, const float* w, const float* bias, float* y, uint8_t* winner, int images,
                       int in, int height, int width, int out, int kernel, int padding) {
    const Shape s{in, height, width, out, kernel, padding};
    const int windows = s.rows() * s.columns(), taps = in * kernel * kernel;
    const size_t plane = size_t(s.padded_height()) * s.padded_width() * L;
    if (!finite(w, s.weights()) || !finite(bias, out)) return NOT_FINITE;
    if (!scratch.reserve(in * plane + s.weights() + s.pooled() * L + 3 * 16)) return NO_MEMORY;
    float* beside = scratch.take(in * plane);  // the images side by side; the rim is the padding, and stays zero
    float* packed = scratch.take(s.weights());
    float* pooled = scratch.take(s.pooled() * L);
    std::memset(beside, 0, in * plane * sizeof(float));

    const int blocks = (out + BLOCK - 1) / BLOCK;  // of output channels, as equal as can be
    const auto begin = [&](int block) { return int(int64_t(out) * block / blocks); };
    for (int block = 0; block < blocks; block++)
        transpose(w + size_t(begin(block)) * taps, taps, packed + size_t(begin(block)) * taps,
                  begin(block + 1) - begin(block), begin(block + 1) - begin(block), taps);

    for (int first = 0; first < images; first += L) {
        const int count = std::min(L, images - first);
        const float* from = x + first * s.image();
        if (!finite(from, count * s.image())) return NOT_FINITE;
        for (int c = 0; c < in; c++)
            for (int row = 0; row < s.seen_height(); row++)
                transpose(from + (size_t(c) * height + row) * width, s.image(),
                          beside + c * plane + (size_t(row + padding) * s.padded_width() + padding) * L, L, count,
                          s.seen_width());
        uint8_t* won = winner ? winner + first * s.pooled() : nullptr;
        for (int block = 0; block < blocks; block++) {
            const size_t o = begin(block), at = o * windows * L;
            forward_blocks<BLOCK>(begin(block + 1) - begin(block), s, beside, packed + o * taps, bias + o,
                                  pooled + at, won ? won + at : nullptr);
        }
        transpose(pooled, L, y + first * s.pooled(), s.pooled(), int(s.pooled()), count);
    }
    return DONE;
}

// From x, w, winner and the gradient of y: those of x (unless null), w and bias.
int conv_block_backward(const float* x, const float* w, const uint8_t* winner, const float* dy, float* dx,
                        float* dw, float* dbias, int images, int in, int height, int width, int out, int kernel,
                        int padding) {
    const Shape s{in, height, width, out, kernel, padding};
    if (!finite(x, images * s.image()) || !finite(w, s.weights())) return NOT_FINITE;
    if (!finite(dy, images * s.pooled())) return NOT_FINITE;
    WeightGradient of_weight{s};
    InputGradient of_input{s};
    if (!scratch.reserve(of_weight.size() + (dx ? of_input.size() : 0))) return NO_MEMORY;
    of_weight.take(scratch);
    if (dx) of_input.take(scratch, w);
    std::memset(dbias, 0, out * sizeof(float));
    for (int n = 0; n < images; n++) {
        const uint8_t* won = winner + size_t(n / L * L) * s.pooled() + n % L;
        of_weight.add(x + n * s.image(), won, dy + n * s.pooled(), dbias);
        if (dx) of_input.compute(won, dy + n * s.pooled(), dx + n * s.image());
    }
    of_weight.write(dw);
    return DONE;
}

}  // extern "C"
