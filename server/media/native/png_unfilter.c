/* The filters of PNG (its specification, section 9), undone: a line's first byte says how its others were predicted. */

#include <stdint.h>
#include <string.h>

enum { NONE, SUB, UP, AVERAGE, PAETH };

/* Of left, above and upper left, that which is nearest to left + above - upper left; in this order if several are.
 * Without the three distances: the larger of left and above if upper left is at most a third of the way from the lower
 * to the larger, the lower if it is two thirds or more, and upper left in between. */
static inline int paeth(int left, int above, int upper_left)
{
    const int low = left < above ? left : above, high = left < above ? above : left;
    const int turn = 3 * upper_left - (left + above);
    const int guess = high <= turn ? low : upper_left;
    return turn <= low ? high : guess;
}

static inline __attribute__((always_inline)) void predicted(int filter, const uint8_t *in, const uint8_t *above,
                                                            uint8_t *out, long width, const int channels)
{
    int left[4] = {0}, corner[4] = {0};
    for (long x = 0; x < width; x++, in += channels, above += channels, out += channels) {
#pragma GCC unroll 4
        for (int c = 0; c < channels; c++) {
            const int guess = filter == PAETH     ? paeth(left[c], above[c], corner[c])
                              : filter == AVERAGE ? (left[c] + above[c]) / 2
                                                  : left[c];
            corner[c] = above[c];
            out[c] = left[c] = (in[c] + guess) & 255;
        }
    }
}

static inline __attribute__((always_inline)) int unfilter_line(int filter, const uint8_t *in, const uint8_t *above,
                                                               uint8_t *out, long width, const int channels)
{
    switch (filter) {
    case NONE:
        memcpy(out, in, width * channels);
        return 0;
    case SUB:
        predicted(SUB, in, above, out, width, channels);
        return 0;
    case UP:
        for (long i = 0; i < width * channels; i++)
            out[i] = in[i] + above[i];
        return 0;
    case AVERAGE:
        predicted(AVERAGE, in, above, out, width, channels);
        return 0;
    case PAETH:
        predicted(PAETH, in, above, out, width, channels);
        return 0;
    }
    return -1;
}

/* From lines [height][1 + width * channels] to pixels [height][width][channels], of one to four channels of a byte.
 * zeros: [width * channels], above the first line. 0, or -1 if there is a filter that PNG does not know. */
int unfilter(const uint8_t *lines, long height, long width, int channels, const uint8_t *zeros, uint8_t *pixels)
{
    const long bytes = width * channels;
    const uint8_t *above = zeros;
    for (long y = 0; y < height; y++, above = pixels, pixels += bytes, lines += 1 + bytes) {
        const uint8_t *in = lines + 1;
        const int failed = channels == 1   ? unfilter_line(*lines, in, above, pixels, width, 1)
                           : channels == 2 ? unfilter_line(*lines, in, above, pixels, width, 2)
                           : channels == 3 ? unfilter_line(*lines, in, above, pixels, width, 3)
                                           : unfilter_line(*lines, in, above, pixels, width, 4);
        if (failed)
            return -1;
    }
    return 0;
}
