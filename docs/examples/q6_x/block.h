// a weight is d*(q - 32), q of 6 bits: the lower four lie in ql, the upper two in qh
#define QK6_X 64
typedef struct {
    ggml_half d;            // the distance of two neighbouring weights
    uint8_t   ql[QK6_X/2];  // byte j: weight j, and above it weight j + 32
    uint8_t   qh[QK6_X/4];  // byte j: weights j, j + 16, j + 32 and j + 48, upwards
} block_q6_x;
static_assert(sizeof(block_q6_x) == sizeof(ggml_half) + 6*QK6_X/8, "wrong q6_x block size/padding");
