/*
 * scalar.h - powers and logarithms of one double, with the same bits on every compiler and CPU.
 *
 * A C library's pow and log differ from system to system in the last place, and an answer of
 * this library must not. Rows that are too rare to deserve a vector kernel use these functions
 * instead. They are accurate rather than quick: 30 to 100 additions and multiplications a call.
 *
 * Layer 1. May be included by anything above; includes nothing. Depends on binary64 arithmetic
 * rounding to nearest and on -ffp-contract=off; scalar.c refuses to compile for anything else
 * it can recognise. All functions are pure and thread-safe, allocate nothing and read no table.
 *
 * Errors are the largest |result - true value| seen, in units in the last place (ulp) of the
 * true value, where a correctly rounded function has 0.5: against mpmath at 200 bits and more
 * on 4e5 random and edge arguments a function, and for uhn_exp2 and uhn_pow on 3e7 and 7e6 more
 * against 64-bit significands. Results below 2^-1022 are subnormal numbers, rounded once.
 */
#ifndef UHN_SCALAR_H
#define UHN_SCALAR_H

/* 2^x. 0 for x <= -1075 and +inf for x >= 1024; 2^n is exact for integers. Error 0.613 ulp. */
double uhn_exp2(double x);

/* Logarithm to base 2, of subnormal numbers too. -inf at 0, NaN below; an integer for powers of
 * two. Error 0.500 ulp. */
double uhn_log2(double x);

/* Natural logarithm of 1 + x, without forming 1 + x. -inf at -1, NaN below. Error 0.500 ulp. */
double uhn_log1p(double x);

/* x^y for x >= 0 and any y; NaN for x < 0. As in C, x^0 = 1 for every x, 1^y = 1 for every y,
 * and 0^y is 0 for y > 0 and +inf for y < 0. Where x^y is a double the result is exact. Error
 * 0.612 ulp over the whole range of results, however large y is. */
double uhn_pow(double x, double y);

/* x^n for any x, by repeated squaring; x^0 = 1 for every x. Where x^n is a double the result is
 * exact. Error 0.500 ulp (n <= 2^40). */
double uhn_powi(double x, unsigned long n);

#endif
