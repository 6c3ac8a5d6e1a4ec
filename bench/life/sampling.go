package main

import "context"

func benchSampling(context.Context) error { return nil }
