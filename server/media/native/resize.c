/* The two passes of Pillow's resize for 8 bits a channel (src/libImaging/Resample.c), vectorised. Each output byte is a
 * sum of input bytes times weights in fixed point, 22 bits after the point, rounded and clipped to a byte. The sums are
 * of integers, so that the order of adding, which differs from Pillow's, changes no value. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define WEIGHT_BITS 22
#define HALF (1 << (WEIGHT_BITS - 1)) /* what a sum starts with, so that the shift at its end rounds */
#define ROWS 16 /* rows that are filtered together when the width is resized */

typedef uint8_t Bytes __attribute__((vector_size(ROWS)));
typedef int32_t Sums __attribute__((vector_size(32)));

/* Interleave the bytes of two vectors: LOW those of their first halves, HIGH those of their second halves. */
#if defined(__clang__)
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define HIGH(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

static inline uint8_t to_byte(int32_t sum)
{
    sum >>= WEIGHT_BITS;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

/* Eight bytes as 32-bit integers. */
static inline Sums widen(const uint8_t *eight)
{
#ifdef __AVX2__
    return (Sums)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)eight));
#else
    Sums sums;
    for (int i = 0; i < 8; i++)
        sums[i] = eight[i];
    return sums;
#endif
}

/* Writes two vectors of sums as sixteen bytes. */
static inline void store_bytes(uint8_t *sixteen, Sums first, Sums second)
{
#ifdef __AVX2__
    const __m256i words = _mm256_packs_epi32((__m256i)(first >> WEIGHT_BITS), (__m256i)(second >> WEIGHT_BITS));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8); /* packs works on each 128-bit half apart */
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128((__m128i *)sixteen, bytes);
#else
    for (int i = 0; i < 8; i++) {
        sixteen[i] = to_byte(first[i]);
        sixteen[i + 8] = to_byte(second[i]);
    }
#endif
}

/* Transposes a block of 16 x 16 bytes in four steps, each of which interleaves the block's two halves. */
static inline void transpose(Bytes block[ROWS])
{
    Bytes other[ROWS];
#pragma GCC unroll 4
    for (int step = 0; step < 4; step++) {
        const Bytes *from = step % 2 ? other : block;
        Bytes *to = step % 2 ? block : other;
#pragma GCC unroll 8
        for (int i = 0; i < ROWS / 2; i++) {
            to[2 * i] = LOW(from[i], from[i + ROWS / 2]);
            to[2 * i + 1] = HIGH(from[i], from[i + ROWS / 2]);
        }
    }
}

/* Transposes ROWS rows: columns[i][row] = rows[row][i] for i < bytes. columns has room for `bytes` rounded up to a
 * multiple of 16; the rest is zero. */
static void rows_to_columns(const uint8_t *const rows[ROWS], long bytes, uint8_t *columns)
{
    for (long left = 0; left < bytes; left += ROWS) {
        Bytes block[ROWS];
        if (left + ROWS <= bytes) {
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++)
                memcpy(&block[i], rows[i] + left, ROWS);
        } else {
            memset(block, 0, sizeof block);
            for (int i = 0; i < ROWS; i++)
                memcpy(&block[i], rows[i] + left, bytes - left);
        }
        transpose(block);
        memcpy(columns + ROWS * left, block, sizeof block);
    }
}

/* Transposes back: to[row][i] = columns[i][row] for i < bytes and row < count. */
static void columns_to_rows(const uint8_t *columns, long bytes, uint8_t *to, long count)
{
    for (long left = 0; left < bytes; left += ROWS) {
        Bytes block[ROWS];
        memcpy(block, columns + ROWS * left, sizeof block);
        transpose(block);
        if (left + ROWS <= bytes && count == ROWS) {
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++)
                memcpy(to + bytes * i + left, &block[i], ROWS);
        } else {
            for (long i = 0; i < count; i++)
                memcpy(to + bytes * i + left, &block[i], bytes - left < ROWS ? bytes - left : ROWS);
        }
    }
}

/* Resizes the width: from [height][width][3] to [height][size][3]. Column x becomes the sum of columns starts[x] + k
 * times weights[x][k], 0 <= k < taps, all of which lie in the image. Returns 0, or -1 if there is no memory. */
int resize_width(const uint8_t *from, long height, long width, const int32_t *starts, const int32_t *weights, long taps,
                 uint8_t *to, long size)
{
    /* ROWS rows at a time, transposed, so that a vector holds the same column of all of them whatever starts[x] is. */
    const long in = (3 * width + ROWS - 1) / ROWS * ROWS, out = (3 * size + ROWS - 1) / ROWS * ROWS;
    uint8_t *columns = malloc(ROWS * (in + out)), *filtered = columns + ROWS * in;
    if (columns == NULL)
        return -1;
    memset(filtered + ROWS * 3 * size, 0, ROWS * (out - 3 * size));
    for (long top = 0; top < height; top += ROWS) {
        const long count = height - top < ROWS ? height - top : ROWS;
        const uint8_t *rows[ROWS];
        for (long i = 0; i < ROWS; i++)
            rows[i] = from + 3 * width * (top + (i < count ? i : count - 1));
        rows_to_columns(rows, 3 * width, columns);
        for (long x = 0; x < size; x++) {
            const uint8_t *pixel = columns + 3 * ROWS * starts[x];
            Sums a = (Sums){0} + HALF, b = a, c = a, d = a, e = a, f = a;
            for (long k = 0; k < taps; k++, pixel += 3 * ROWS) {
                const Sums weight = (Sums){0} + weights[x * taps + k];
                a += widen(pixel) * weight;
                b += widen(pixel + 8) * weight;
                c += widen(pixel + 16) * weight;
                d += widen(pixel + 24) * weight;
                e += widen(pixel + 32) * weight;
                f += widen(pixel + 40) * weight;
            }
            store_bytes(filtered + 3 * ROWS * x, a, b);
            store_bytes(filtered + 3 * ROWS * x + 16, c, d);
            store_bytes(filtered + 3 * ROWS * x + 32, e, f);
        }
        columns_to_rows(filtered, 3 * size, to + 3 * size * top, count);
    }
    free(columns);
    return 0;
}

/* Resizes the height: from [height][bytes] to [size][bytes]. Row y becomes the sum of rows starts[y] + k times
 * weights[y][k], all of which lie in the image. */
void resize_height(const uint8_t *from, long bytes, const int32_t *starts, const int32_t *weights, long taps,
                   uint8_t *to, long size)
{
    for (long y = 0; y < size; y++, to += bytes, weights += taps) {
        const uint8_t *top = from + bytes * starts[y];
        long i = 0;
        for (; i + 32 <= bytes; i += 32) {
            Sums a = (Sums){0} + HALF, b = a, c = a, d = a;
            for (long k = 0; k < taps; k++) {
                const uint8_t *row = top + k * bytes + i;
                const Sums weight = (Sums){0} + weights[k];
                a += widen(row) * weight;
                b += widen(row + 8) * weight;
                c += widen(row + 16) * weight;
                d += widen(row + 24) * weight;
            }
            store_bytes(to + i, a, b);
            store_bytes(to + i + 16, c, d);
        }
        for (; i < bytes; i++) {
            int32_t sum = HALF;
            for (long k = 0; k < taps; k++)
                sum += top[k * bytes + i] * weights[k];
            to[i] = to_byte(sum);
        }
    }
}
