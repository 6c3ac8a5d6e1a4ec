// Package api is the HTTP API over control: routes, JSON and statuses, and the
// document that describes them. It holds no rules of the business.
package api

import (
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cpucloud/cpucloud/internal/control"
)

// Config is what the API needs besides control.
type Config struct {
	Log     *slog.Logger
	Version string // of the program
}

type api struct {
	Config
	control  *control.Service
	mux      *http.ServeMux
	document *huma.OpenAPI
}

// New returns the handler of the API, its document and its health checks.
func New(c *control.Service, config Config) http.Handler {
	a := newAPI(c, config)
	a.serveDocument()
	a.mux.HandleFunc("GET /metrics", a.metrics)
	a.mux.HandleFunc("/", a.missing)
	return a.guard(a.mux)
}

func newAPI(c *control.Service, config Config) *api {
	a := &api{Config: config, control: c, mux: http.NewServeMux(), document: newDocument()}
	a.routes()
	a.tidy()
	return a
}

// routes is the whole table: what is served, and what the document says of it.
func (a *api) routes() {
	handle(a, searchOffers, a.searchOffers)
	handle(a, listOffers, a.listOffers)
	handle(a, explainOffers, a.explainOffers)
	handle(a, listConfigurations, a.listConfigurations)
	handle(a, listCountries, a.listCountries)
	handle(a, listHardware, a.listHardware)
	handle(a, listDatacenters, a.listDatacenters)

	handle(a, deployVMs, a.deployVMs)
	handle(a, listVMs, a.listVMs)
	handle(a, updateVMs, a.updateVMs)
	handle(a, deleteVMs, a.deleteVMs)
	handle(a, vmStatuses, a.vmStatuses)
	handle(a, createQuote, a.createQuote)
	handle(a, deployWith, a.deployWith)
	handle(a, estimateVMs, a.estimateVMs)
	handle(a, defaultImages, a.defaultImages)
	handle(a, listVMLooks, a.listVMLooks)
	handle(a, getVM, a.getVM)
	a.lifeRoutes()
	a.snapshotRoutes()
	a.consoleRoutes()
	a.exportRoutes()

	handle(a, listSSHKeys, a.listSSHKeys)
	handle(a, addSSHKey, a.addSSHKey)
	handle(a, deleteSSHKey, a.deleteSSHKey)

	a.moneyRoutes()
	a.limitRoutes()

	handle(a, createProvider, a.createProvider)
	handle(a, listProviders, a.listProviders)
	handle(a, getListing, a.getListing)
	handle(a, applyListing, a.applyListing)
	handle(a, createServerToken, a.createServerToken)
	handle(a, listServers, a.listServers)
	handle(a, getServer, a.getServer)
	handle(a, cordonServer, a.cordonServer)
	handle(a, uncordonServer, a.uncordonServer)
	handle(a, drainServer, a.drainServer)
	handle(a, removeServer, a.removeServer)
	handle(a, benchmarkServer, a.benchmarkServer)
	handle(a, terminateVM, a.terminateVM)
	handle(a, getEarnings, a.getEarnings)

	handle(a, listAccounts, a.listAccounts)
	handle(a, createAccount, a.createAccount)
	a.payments()
	handle(a, createJoinToken, a.createJoinToken)
	handle(a, simulateFleet, a.simulateFleet)
	handle(a, advanceClock, a.advanceClock)
	handle(a, checkAll, a.checkAll)

	handle(a, healthz, a.healthz)
	handle(a, readyz, a.readyz)
}

// moneyRoutes are what customers can know of their money.
func (a *api) moneyRoutes() {
	handle(a, getAccount, a.getAccount)
	handle(a, listAccountEvents, a.listAccountEvents)
	handle(a, billingHistory, a.billingHistory)
	handle(a, billingSpend, a.billingSpend)
	handle(a, billingStatement, a.billingStatement)
}

// payments is the part of the table by which money comes and goes.
func (a *api) payments() {
	handle(a, getBalance, a.getBalance)
	handle(a, setBalance, a.setBalance)
	handle(a, creditAccount, a.creditAccount)
	handle(a, listPayments, a.listPayments)
	handle(a, requestWithdrawal, a.requestWithdrawal)
	handle(a, listWithdrawals, a.listWithdrawals)
	handle(a, cancelWithdrawal, a.cancelWithdrawal)
	handle(a, listAllWithdrawals, a.listAllWithdrawals)
	handle(a, confirmWithdrawal, a.confirmWithdrawal)
	handle(a, rejectWithdrawal, a.rejectWithdrawal)
}

// limitRoutes is the part of the table that bounds what is spent.
func (a *api) limitRoutes() {
	handle(a, getLimits, a.getLimits)
	handle(a, setLimits, a.setLimits)
	handle(a, listAPIKeys, a.listAPIKeys)
	handle(a, createAPIKey, a.createAPIKey)
	handle(a, setAPIKeyLimits, a.setAPIKeyLimits)
	handle(a, revokeAPIKey, a.revokeAPIKey)
	handle(a, getAccountLimits, a.getAccountLimits)
	handle(a, setAccountLimits, a.setAccountLimits)
}
