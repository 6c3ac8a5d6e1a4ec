package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cpucloud/cpucloud/internal/control"
)

// metrics answers with what an operator watches, in Prometheus' format. It takes
// an operator's API key, as a bearer token.
func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	who, err := a.authenticate(r)
	if err != nil {
		a.turnAway(w, r, err)
		return
	}
	f, err := a.control.Figures(r.Context(), who)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(figures(f), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r)
}

// figures collects metrics of what was read.
type figures control.Figures

// What is collected.
var (
	metricVMs           = describe("vms", "VMs that are listed or still on a server.", "state")
	metricServers       = describe("servers", "Servers of the marketplace; silent are those that are not heard.", "state")
	metricAccounts      = describe("accounts", "Accounts.")
	metricWithdrawals   = describe("withdrawals_requested", "Withdrawals that wait for an operator.")
	metricBehind        = describe("billing_behind_seconds", "How long the VM that is due longest waits to be billed.")
	metricDiscrepancies = describe("fsck_discrepancies", "What the newest check of all that is stored found wrong.")
	metricChecked       = describe("fsck_timestamp_seconds", "When all that is stored was checked last.")
	metricDone          = describe("duty_done_total", "What the loops of this replica did.", "duty")
	metricFailed        = describe("duty_failures_total", "How often a loop of this replica failed.", "duty")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cpucloud_"+name, help, labels, nil)
}

// Describe says what is collected.
func (f figures) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, to) }

// Collect collects it.
func (f figures) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for state, n := range f.VMs {
		gauge(metricVMs, float64(n), state)
	}
	for state, n := range f.Servers {
		gauge(metricServers, float64(n), state)
	}
	gauge(metricAccounts, float64(f.Accounts))
	gauge(metricWithdrawals, float64(f.Withdrawals))
	gauge(metricBehind, max(f.Behind.Seconds(), 0))
	if !f.CheckedAt.IsZero() {
		gauge(metricDiscrepancies, float64(f.Discrepancies))
		gauge(metricChecked, float64(f.CheckedAt.Unix()))
	}
	for duty, d := range f.Duties {
		to <- prometheus.MustNewConstMetric(metricDone, prometheus.CounterValue, float64(d.Done), duty)
		to <- prometheus.MustNewConstMetric(metricFailed, prometheus.CounterValue, float64(d.Failed), duty)
	}
}
