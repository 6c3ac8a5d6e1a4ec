package store_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) { storetest.Run(t, e.Open) })
}
