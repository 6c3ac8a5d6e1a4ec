package servertest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/servertest"
)

// withChecksum asks for a small VM of an image that has to have a checksum.
func withChecksum(image, checksum string) client.PlacedDeployment {
	w := wish(image)
	return client.PlacedDeployment{
		Placing: client.Placing{Constraints: client.Wishes{Constraints: w.Constraints}, Instances: 1}, VM: w.VM, ImageChecksum: checksum,
	}
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// An image that differs from what its customer expects becomes no VM: it fails
// at once, on one server, says why, and the whole deposit is back. One that is
// as expected runs.
func TestImageChecksum(t *testing.T) {
	t.Parallel()
	cloud := servertest.Start(t, servertest.Options{})
	disk := servertest.Disk(2)
	var asked atomic.Int64
	url := serve(t, cloud, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(disk)
	})
	a, b := cloud.Agent(), cloud.Agent()
	anna := cloud.Customer("1")
	made, err := anna.DeployWith(t.Context(), withChecksum(url, sumOf([]byte("what was published"))))
	if err != nil {
		t.Fatalf("deploy: %v", err)
	}
	v := reach(t, anna, made[0].ID, client.StatusFailed)
	if !strings.Contains(v.Reason, "checksum is "+sumOf(disk)) || strings.Contains(story(v), "placed on another server") || asked.Load() != 1 {
		t.Errorf("reason %q after %d downloads\n%s", v.Reason, asked.Load(), story(v))
	}
	wantPurse(t, anna, money.USDC, 0, 0)
	awaitEmpty(cloud, a)
	awaitEmpty(cloud, b)

	made, err = anna.DeployWith(t.Context(), withChecksum(url, strings.ToUpper(sumOf(disk))))
	if err == nil {
		t.Errorf("SHA256: in capitals was accepted: %v", made)
	}
	made, err = anna.DeployWith(t.Context(), withChecksum(url, "sha256:"+strings.ToUpper(sumOf(disk)[len("sha256:"):])))
	if err != nil {
		t.Fatalf("deploy: %v", err)
	}
	reach(t, anna, made[0].ID, client.StatusActive)
}
