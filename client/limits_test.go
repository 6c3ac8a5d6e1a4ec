package client_test

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/client"
)

// dry answers as a cloud that knows dry runs, and notes what was sent.
func dry(got *string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body) // what is missing shows in the comparison
		*got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(sent))
		if r.URL.Query().Get("dryRun") == "true" {
			w.Header().Set("Cpucloud-Dry-Run", "true")
		}
		_, _ = io.WriteString(w, body) // a client that went away needs no answer
	}
}

func serve(h http.HandlerFunc) *client.Client {
	return cloud(func(w http.ResponseWriter, r *http.Request) error {
		h(w, r)
		return nil
	})
}

// TestLimitRequests compares what is sent with the published contract.
func TestLimitRequests(t *testing.T) {
	t.Parallel()
	l := client.Limits{PerDay: new("5"), Running: new("0")}
	const body = `{"perDay":"5","perMonth":null,"running":"0"}`
	type do = func(context.Context, *client.Client) error
	for want, do := range map[string]do{
		`GET /v1/account/limits`: func(ctx context.Context, c *client.Client) error { _, err := c.Limits(ctx); return err },
		`PUT /v1/account/limits ` + body: func(ctx context.Context, c *client.Client) error {
			_, err := c.SetLimits(ctx, l)
			return err
		},
		`GET /v1/admin/accounts/a%2Fb/limits`: func(ctx context.Context, c *client.Client) error { _, err := c.AccountLimits(ctx, "a/b"); return err },
		`PUT /v1/admin/accounts/a/limits ` + body: func(ctx context.Context, c *client.Client) error {
			_, err := c.SetAccountLimits(ctx, "a", l)
			return err
		},
		`GET /v1/api-keys`: func(ctx context.Context, c *client.Client) error { _, err := c.APIKeys(ctx); return err },
		`POST /v1/api-keys {"name":"ci","limits":` + body + `}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateAPIKey(ctx, "ci", "", l)
			return err
		},
		`PUT /v1/api-keys/k/limits ` + body: func(ctx context.Context, c *client.Client) error {
			_, err := c.SetAPIKeyLimits(ctx, "k", l)
			return err
		},
		`DELETE /v1/api-keys/k`:             func(ctx context.Context, c *client.Client) error { return c.RevokeAPIKey(ctx, "k") },
		`DELETE /v1/api-keys/k?dryRun=true`: func(ctx context.Context, c *client.Client) error { return c.DryRun().RevokeAPIKey(ctx, "k") },
		`PUT /v1/account/limits?dryRun=true ` + body: func(ctx context.Context, c *client.Client) error {
			_, err := c.DryRun().SetLimits(ctx, l)
			return err
		},
		`GET /v1/account`: func(ctx context.Context, c *client.Client) error { _, err := c.DryRun().Account(ctx); return err },
		`POST /vms/v3/estimate {"constraints":{},"instances":1}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.DryRun().Estimate(ctx, client.Constraints{}, 1)
			return err
		},
	} {
		got := ""
		if err := do(t.Context(), serve(dry(&got, "null"))); err != nil || got != want {
			t.Errorf("sent %s, %v\nwant %s", got, err, want)
		}
	}
}

// A dry run of a deployment makes no VM; its plan says what it would cost.
func TestDryRunOfDeployment(t *testing.T) {
	t.Parallel()
	const answer = `{"dryRun": true, "depositAmountUsdc": "1.68", "depositEpochs": 2, "totalPricePerEpoch": "0.84", "maxPricePerEpoch": "0.84", "instances": 1,
		"balanceAfter": "98.32", "limits": {"perDay": {"limit": "5", "used": "0.84", "own": "5", "operator": null},
		"perMonth": {"limit": null, "used": "0.84", "own": null, "operator": null}, "running": {"limit": null, "used": "0.84", "own": null, "operator": null},
		"key": {"id": "key_1", "perDay": {"limit": null, "used": "0.84", "own": null, "operator": null}}}}`
	got := ""
	c := serve(dry(&got, answer))
	made, err := c.DryRun().Deploy(t.Context(), client.Deployment{Instances: 1})
	if err != nil || len(made) != 0 || !strings.HasPrefix(got, "POST /vms/v3?dryRun=true ") {
		t.Errorf("sent %s: %v, %v", got, made, err)
	}
	plan, err := c.Plan(t.Context(), client.PlacedDeployment{Placing: client.Placing{Instances: 1}})
	if err != nil || !strings.HasPrefix(got, "POST /v1/vms?dryRun=true ") || plan.BalanceAfter != "98.32" || plan.Deposit != "1.68" || plan.Limits.Key.ID != "key_1" {
		t.Errorf("sent %s: %+v, %v", got, plan, err)
	}
	if own := plan.Limits.OwnLimits(); !reflect.DeepEqual(own, client.Limits{PerDay: new("5")}) || plan.Limits.OperatorLimits() != (client.Limits{}) {
		t.Errorf("limits: %+v", own)
	}
}

// A cloud that does not say that it was a dry run has perhaps done it.
func TestDryRunThatWasNone(t *testing.T) {
	t.Parallel()
	_, err := cloud(says(http.StatusOK, `{"removed_ids": ["0x1"]}`)).DryRun().DeleteVMs(t.Context(), "0x1")
	if err == nil || !strings.Contains(err.Error(), "did not say that it was a dry run") {
		t.Errorf("got %v", err)
	}
}
