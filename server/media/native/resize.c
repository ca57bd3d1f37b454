/* Two passes of a resize as Pillow makes them: src/libImaging/Resample.c, 8 bits a channel. Sums of bytes times weights
 * in fixed point, 22 bits after the point, rounded and clipped to bytes. Integers add up alike in any order. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define BITS 22
#define HALF (1 << (BITS - 1))
#define ROWS 16 /* that are blended side by side */

typedef uint8_t Bytes __attribute__((vector_size(ROWS)));
typedef int32_t Sums __attribute__((vector_size(32)));

#if defined(__clang__)
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define HIGH(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

static inline uint8_t rounded(int32_t sum)
{
    sum >>= BITS;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

static inline Sums widened(const uint8_t *eight)
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

static inline void store_rounded(uint8_t *sixteen, Sums first, Sums second)
{
#ifdef __AVX2__
    const __m256i words = _mm256_packs_epi32((__m256i)(first >> BITS), (__m256i)(second >> BITS));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8); /* packing goes by halves */
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128((__m128i *)sixteen, bytes);
#else
    for (int i = 0; i < 8; i++) {
        sixteen[i] = rounded(first[i]);
        sixteen[i + 8] = rounded(second[i]);
    }
#endif
}

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

/* columns[at][row] = rows[row][at]; columns has room for bytes rounded up to 16. */
static void stand_up(const uint8_t *const rows[ROWS], long bytes, uint8_t *columns)
{
    for (long at = 0; at < bytes; at += ROWS) {
        Bytes block[ROWS];
        if (at + ROWS <= bytes) {
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++)
                memcpy(&block[i], rows[i] + at, ROWS);
        } else {
            memset(block, 0, sizeof block);
            for (int i = 0; i < ROWS; i++)
                memcpy(&block[i], rows[i] + at, bytes - at);
        }
        transpose(block);
        memcpy(columns + ROWS * at, block, sizeof block);
    }
}

/* to[row][at] = columns[at][row], of `count` rows. */
static void lay_down(const uint8_t *columns, long bytes, uint8_t *to, long count)
{
    for (long at = 0; at < bytes; at += ROWS) {
        Bytes block[ROWS];
        memcpy(block, columns + ROWS * at, sizeof block);
        transpose(block);
        if (at + ROWS <= bytes && count == ROWS) {
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; i++)
                memcpy(to + bytes * i + at, &block[i], ROWS);
        } else {
            for (long i = 0; i < count; i++)
                memcpy(to + bytes * i + at, &block[i], bytes - at < ROWS ? bytes - at : ROWS);
        }
    }
}

/* Widths: from [height][width][3] to [height][size][3]. Column x is the sum of `taps` columns from starts[x] on times
 * weights[x]; all of them lie in the picture. 0, or -1 if there is no memory. */
int resize_columns(const uint8_t *from, long height, long width, const int32_t *starts, const int32_t *weights, long taps,
                   uint8_t *to, long size)
{
    /* ROWS rows at a time, standing, so that what is blended lies side by side whatever the starts are. */
    const long in = (3 * width + ROWS - 1) / ROWS * ROWS, out = (3 * size + ROWS - 1) / ROWS * ROWS;
    uint8_t *columns = malloc(ROWS * (in + out)), *blended = columns + ROWS * in;
    if (columns == NULL)
        return -1;
    memset(blended + ROWS * 3 * size, 0, ROWS * (out - 3 * size));
    for (long top = 0; top < height; top += ROWS) {
        const long count = height - top < ROWS ? height - top : ROWS;
        const uint8_t *rows[ROWS];
        for (long i = 0; i < ROWS; i++)
            rows[i] = from + 3 * width * (top + (i < count ? i : count - 1));
        stand_up(rows, 3 * width, columns);
        for (long x = 0; x < size; x++) {
            const uint8_t *pixel = columns + 3 * ROWS * starts[x];
            Sums a = (Sums){0} + HALF, b = a, c = a, d = a, e = a, f = a;
            for (long k = 0; k < taps; k++, pixel += 3 * ROWS) {
                const Sums weight = (Sums){0} + weights[x * taps + k];
                a += widened(pixel) * weight;
                b += widened(pixel + 8) * weight;
                c += widened(pixel + 16) * weight;
                d += widened(pixel + 24) * weight;
                e += widened(pixel + 32) * weight;
                f += widened(pixel + 40) * weight;
            }
            store_rounded(blended + 3 * ROWS * x, a, b);
            store_rounded(blended + 3 * ROWS * x + 16, c, d);
            store_rounded(blended + 3 * ROWS * x + 32, e, f);
        }
        lay_down(blended, 3 * size, to + 3 * size * top, count);
    }
    free(columns);
    return 0;
}

/* Heights: from [height][bytes] to [size][bytes], as above. */
void resize_rows(const uint8_t *from, long bytes, const int32_t *starts, const int32_t *weights, long taps, uint8_t *to,
                 long size)
{
    for (long y = 0; y < size; y++, to += bytes, weights += taps) {
        const uint8_t *top = from + bytes * starts[y];
        long at = 0;
        for (; at + 32 <= bytes; at += 32) {
            Sums a = (Sums){0} + HALF, b = a, c = a, d = a;
            for (long k = 0; k < taps; k++) {
                const uint8_t *row = top + k * bytes + at;
                const Sums weight = (Sums){0} + weights[k];
                a += widened(row) * weight;
                b += widened(row + 8) * weight;
                c += widened(row + 16) * weight;
                d += widened(row + 24) * weight;
            }
            store_rounded(to + at, a, b);
            store_rounded(to + at + 16, c, d);
        }
        for (; at < bytes; at++) {
            int32_t sum = HALF;
            for (long k = 0; k < taps; k++)
                sum += top[k * bytes + at] * weights[k];
            to[at] = rounded(sum);
        }
    }
}
