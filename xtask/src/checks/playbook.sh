# Ansible can read it.
# needs: ansible-playbook
ansible-playbook --syntax-check docs/deploy/ansible/playbook.yml 2>/dev/null
