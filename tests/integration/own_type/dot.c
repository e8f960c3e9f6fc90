// The dot product of Q6_X rows against what its own dequantizer and Q8_0's say, in double precision.
// Also: the worst and the mean error of a weight, in steps of its block. Prints "error dot worst rmse".
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ggml.h"
#include "ggml-quants.h"
#include "quants.h"

float ggml_table_f32_f16[1 << 16]; // the backend fills it when it starts

int main(void) {
    enum { n = 1536, rows = 64 };
    static float w[n], a[n], wd[n], ad[n];
    static block_q6_x wq[n/QK6_X];
    static block_q8_0 aq[n/QK8_0];

    for (int i = 0; i < 1 << 16; ++i) {
        ggml_table_f32_f16[i] = ggml_fp16_to_fp32((ggml_fp16_t) i);
    }
    unsigned state = 1;
    double worst_dot = 0, worst = 0, squares = 0;
    for (int row = 0; row < rows; ++row) {
        for (int i = 0; i < n; ++i) {
            state = state*1664525u + 1013904223u;
            w[i] = (float) (state >> 8)/(1 << 24) - 0.5f;
            state = state*1664525u + 1013904223u;
            a[i] = (float) (state >> 8)/(1 << 24) - 0.5f;
        }
        quantize_row_q6_x_ref(w, wq, n);
        quantize_row_q8_0_ref(a, aq, n);
        dequantize_row_q6_x(wq, wd, n);
        dequantize_row_q8_0(aq, ad, n);

        double dot = 0, size = 0;
        for (int i = 0; i < n; ++i) {
            dot  += (double) wd[i]*ad[i];
            size += fabs((double) wd[i]*ad[i]);
            const double step = fabs(ggml_fp16_to_fp32(wq[i/QK6_X].d));
            worst = fmax(worst, fabs((double) wd[i] - w[i])/step);
            squares += ((double) wd[i] - w[i])*((double) wd[i] - w[i])/(step*step);
        }
        float got = 0;
        ggml_vec_dot_q6_x_q8_0(n, &got, 0, wq, 0, aq, 0, 1);
        worst_dot = fmax(worst_dot, fabs(got - dot)/size);
    }
    printf("%g %g %g\n", worst_dot, worst, sqrt(squares/(n*rows)));
    return 0;
}
