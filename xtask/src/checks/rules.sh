# The rules are right, and each alert fires and does not fire as it should.
# needs: promtool
cd docs/deploy/prometheus
promtool check config prometheus.yml
promtool check rules rules.yml
promtool test rules rules_test.yml
