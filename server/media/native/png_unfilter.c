/* Undoes the filters of PNG (section 9 of its specification). The first byte of a scanline names a filter; the others
 * are differences from what that filter predicts of the bytes to the left and above. */

#include <stdint.h>
#include <string.h>

enum { NONE, SUB, UP, AVERAGE, PAETH };

/* Predicts the one of left, above and upper left that is nearest to left + above - upper left, in this order if several
 * are. Computed without the three distances: it is the higher of left and above if upper left is at most a third of the
 * way from the lower to the higher, the lower if it is two thirds or more of the way, and upper left in between. */
static inline int paeth(int left, int above, int upper_left)
{
    const int low = left < above ? left : above, high = left < above ? above : left;
    const int bound = 3 * upper_left - (left + above);
    const int prediction = high <= bound ? low : upper_left;
    return bound <= low ? high : prediction;
}

/* Undoes a filter that uses the byte to the left. Inlined with constants for `filter` and `channels`, so that the inner
 * loop has no branches. */
static inline __attribute__((always_inline)) void add_prediction(int filter, const uint8_t *in, const uint8_t *above,
                                                                 uint8_t *out, long width, const int channels)
{
    int left[4] = {0}, upper_left[4] = {0};
    for (long x = 0; x < width; x++, in += channels, above += channels, out += channels) {
#pragma GCC unroll 4
        for (int c = 0; c < channels; c++) {
            const int prediction = filter == PAETH     ? paeth(left[c], above[c], upper_left[c])
                                   : filter == AVERAGE ? (left[c] + above[c]) / 2
                                                       : left[c];
            upper_left[c] = above[c];
            out[c] = left[c] = (in[c] + prediction) & 255;
        }
    }
}

/* Undoes the filter of one scanline. Returns 0, or -1 for a filter that PNG does not define. */
static inline __attribute__((always_inline)) int unfilter_scanline(int filter, const uint8_t *in, const uint8_t *above,
                                                                   uint8_t *out, long width, const int channels)
{
    switch (filter) {
    case NONE:
        memcpy(out, in, width * channels);
        return 0;
    case SUB:
        add_prediction(SUB, in, above, out, width, channels);
        return 0;
    case UP:
        for (long i = 0; i < width * channels; i++)
            out[i] = in[i] + above[i];
        return 0;
    case AVERAGE:
        add_prediction(AVERAGE, in, above, out, width, channels);
        return 0;
    case PAETH:
        add_prediction(PAETH, in, above, out, width, channels);
        return 0;
    }
    return -1;
}

/* Turns scanlines [height][1 + width * channels] into pixels [height][width][channels], with one to four channels of a
 * byte. zeros: [width * channels], what the first scanline has above it. Returns 0, or -1 for a filter that PNG does
 * not define. */
int unfilter(const uint8_t *scanlines, long height, long width, int channels, const uint8_t *zeros, uint8_t *pixels)
{
    const long bytes = width * channels;
    const uint8_t *above = zeros;
    for (long y = 0; y < height; y++, above = pixels, pixels += bytes, scanlines += 1 + bytes) {
        const uint8_t *in = scanlines + 1;
        const int failed = channels == 1   ? unfilter_scanline(*scanlines, in, above, pixels, width, 1)
                           : channels == 2 ? unfilter_scanline(*scanlines, in, above, pixels, width, 2)
                           : channels == 3 ? unfilter_scanline(*scanlines, in, above, pixels, width, 3)
                                           : unfilter_scanline(*scanlines, in, above, pixels, width, 4);
        if (failed)
            return -1;
    }
    return 0;
}
