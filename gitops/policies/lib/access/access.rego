# METADATA
# description: Who is kept out of every product, whatever its own policy says.
package lib.access

suspended if input.org in data.lib.access.suspended_orgs

blocked_address if {
	input.request.client_ip != ""
	some network in data.lib.access.blocked_networks
	net.cidr_contains(network, input.request.client_ip)
}
